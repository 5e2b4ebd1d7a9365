"""Listings of folders, on this machine or in a store."""

import contextlib
import os
import stat

from serving.storage.gfile import gfile, is_remote, walk_remote


def list_names(folder: str) -> list[str]:
    """Returns the sorted names in a folder; none if the folder is missing, as in a store before the first object.

    Raises:
        OSError: if the folder cannot be listed.
    """
    return sorted(gfile(folder).listdir(folder)) if gfile(folder).isdir(folder) else []


def list_files(folder: str) -> list[str]:
    """Returns the sorted paths of all files below a folder, at any depth; none if the folder is missing.

    Links to folders are not followed.

    Raises:
        OSError: if a folder in a store cannot be listed.
    """
    if is_remote(folder):
        return sorted(file.path for file in walk_remote([folder])[0]) if gfile(folder).isdir(folder) else []
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)


def measure(folder: str) -> int:
    """Returns the total size in bytes of the files below a folder; 0 if the folder is missing.

    Skips files that another process removes at the same time.

    Raises:
        OSError: if a folder in a store cannot be listed.
    """
    if is_remote(folder):
        return sum(file.size for file in walk_remote([folder])[0]) if gfile(folder).isdir(folder) else 0
    size = 0
    for path in list_files(folder):
        with contextlib.suppress(OSError):
            found = os.stat(path)
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size
