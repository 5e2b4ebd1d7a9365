// Files of a drop, a paste or a choice; folders that are dropped are walked.

export const MOST = 1000; // pictures on the page at once

/** Returns the files of a drop, and of the folders in it, up to one more than MOST. */
export async function listDropped(transfer) {
  // Entries and files are read before the first wait: the browser empties the transfer after the event.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length > MOST) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file && !file.name.startsWith(".")) found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!part.length || found.length > MOST) return;
    for (const child of part) await walk(child, found);
  }
}
