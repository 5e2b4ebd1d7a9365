// Questions to the page server, ./graft try.

/** Reason why there is no answer; its kind is one of pipeline/try_page/model_server.py, or "empty", "unreadable", "aborted". */
export class Problem extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export async function describeModel() {
  return read(await reach("model", { cache: "no-store" }));
}

/** Sends a file, whose bytes the browser reads piece by piece; the answer is a document. */
export async function ask(question, file, signal) {
  if (!file.size) throw new Problem("empty", "");
  let response;
  try {
    response = await reach(question, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, signal });
  } catch (problem) {
    if (problem.kind === "gone" && !(await isReadable(file))) throw new Problem("unreadable", "");
    throw problem;
  }
  return read(response);
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw new Problem("aborted", "");
    throw new Problem("gone", "./graft try has ended; start it again, and open the address that it prints");
  }
}

async function read(response) {
  let document = null;
  try {
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw new Problem("aborted", "");
  }
  if (response.ok && document) return document;
  throw new Problem(document?.kind ?? "other", document?.error ?? `the page server says nothing (${response.status})`);
}

async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
