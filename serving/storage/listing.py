"""Lists what is in a folder, here or in a store."""

import contextlib
import os
import stat

from serving.storage.gfile import gfile, is_remote, walk_remote


def list_names(folder: str) -> list[str]:
    """Returns the names in a folder, sorted; none if there is no such folder, as in a store before the first object.

    Raises:
        OSError: if it cannot be listed.
    """
    return sorted(gfile(folder).listdir(folder)) if gfile(folder).isdir(folder) else []


def list_files(folder: str) -> list[str]:
    """Returns the paths of all that is no folder below a folder, at any depth, sorted; none if there is no such folder.

    Links to folders are not followed.

    Raises:
        OSError: if a folder in a store cannot be listed.
    """
    if is_remote(folder):
        return sorted(file.path for file in walk_remote([folder])[0]) if gfile(folder).isdir(folder) else []
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)


def measure(folder: str) -> int:
    """Adds up the bytes of the files below a folder, which another process may be removing; 0 if there is none.

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
