"""Reading of regular files on this machine only: a named pipe would block for ever.

Opening a device may have effects, such as rewinding a tape, and opening a pipe wakes its writer. So the type of the
file is checked before opening, and again afterwards, because the file may have been replaced in between.
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
    """Returns "a named pipe", "a socket" or "a device"; "" for a regular file or folder.

    Args:
        mode: `st_mode` of `os.stat`.
    """
    return _KINDS.get(stat.S_IFMT(mode), "")


def find_irregular(path: str) -> str:
    """Returns `name_irregular` of a path; "" if the path is missing or invalid."""
    try:
        return name_irregular(os.stat(path).st_mode)
    except (OSError, ValueError):  # a missing path, or an invalid name
        return ""


def read_regular(path: str | pathlib.Path, size: int = -1) -> bytes:
    """Reads a regular file, or a link to one.

    Args:
        path: path on this machine.
        size: maximum number of bytes to read; negative for all.
    Raises:
        OSError: if the file cannot be read, or is no regular file; the text then names its type.
    """
    with open_regular(path) as file:
        return file.read(size)


def open_regular(path: str | pathlib.Path) -> BinaryIO:
    """Opens a regular file, or a link to one, for reading bytes.

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
