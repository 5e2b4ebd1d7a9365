"""Reads regular files of this machine, and nothing else: a named pipe would wait for a writer for ever.

Opening a device may do something, such as rewind a tape, and opening a pipe wakes its writer. So the kind is looked at
before a file is opened, and once more after: it may have been replaced meanwhile.
"""

import errno
import os
import pathlib
import stat
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def name_irregular(mode: int) -> str:
    """Returns "a named pipe", "a socket" or "a device"; "" for a file and a folder.

    Args:
        mode: `st_mode` of `os.stat`.
    """
    return _KINDS.get(stat.S_IFMT(mode), "")


def find_irregular(path: str) -> str:
    """Returns what there is at a path, if it is neither a file nor a folder; as `name_irregular`."""
    try:
        return name_irregular(os.stat(path).st_mode)
    except (OSError, ValueError):  # nothing is there, or a name that no file has
        return ""


def read_regular(path: str | pathlib.Path, size: int = -1) -> bytes:
    """Reads a regular file, or a link to one.

    Args:
        path: of this machine.
        size: the most bytes to read; negative for all.
    Raises:
        OSError: if it cannot be read; with the kind as its text if it is no regular file.
    """
    with open_regular(path) as file:
        return file.read(size)


def open_regular(path: str | pathlib.Path) -> BinaryIO:
    """Opens a regular file, or a link to one, to read its bytes.

    Raises:
        OSError: as `read_regular`.
    """
    _check(path, os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check(path: str | pathlib.Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind := name_irregular(mode):
        raise OSError(errno.EINVAL, f"{kind}, which is no file", str(path))
