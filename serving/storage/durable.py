"""Syncs of files and folders to the disk, so that a power cut cannot leave a file name without the file's bytes.

A rename may reach the disk before the bytes of the renamed file. So fsync(2) of the file, and then of its folder, comes
first. A store such as gs:// needs no sync: an object is written whole or not at all.
"""

import errno
import os

# Errors of file systems that cannot sync a folder and need no sync.
_NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def sync_tree(folder: str) -> None:
    """Syncs all files and folders below a folder of this machine, and the folder itself last.

    Raises:
        OSError: if the disk is full or fails.
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
    """Syncs the file names in a folder of this machine, if the file system supports that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)
