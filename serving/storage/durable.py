"""Writes through to the disk, so that a power cut cannot leave a name without what it names.

A rename may reach the disk before the bytes of the file that it renames: fsync(2) of the file, then of its folder,
comes first. A store such as gs:// has none of this: an object is there whole or not at all.
"""

import errno
import os

# What some file systems say of a folder: it cannot be synced, and need not be.
_NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def sync_tree(folder: str) -> None:
    """Syncs every file below a folder of this machine, and every folder, itself last.

    Raises:
        OSError: if a disk is full or fails.
    """
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(os.path.join(parent, name))
        sync_folder(parent)


def sync_file(path: str) -> None:
    """Syncs the bytes of a file of this machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str) -> None:
    """Syncs the names in a folder of this machine, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)
