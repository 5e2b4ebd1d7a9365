"""Lock of a serving folder: one process at a time changes the versions of its models and `models.config`.

The lock is an flock(2) on the file `.lock` beside `models.config`. The kernel releases the lock when the process ends,
in any way. Reading takes no lock, so a read-only folder can be served.

On a file system without locks (an NFS mount with `nolock`) changes are made without a lock: a rename is still atomic.
A store such as gs:// has no lock either.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from typing import IO, Any

from schema.errors import GraftError
from schema.text import printable
from serving.storage.gfile import is_remote

FILE = ".lock"
_WAIT_SECONDS = 600.0  # a change is renames and the removal of old versions
_LOOK_SECONDS = 0.02
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


@contextlib.contextmanager
def locked(model_dir: str) -> Iterator[None]:
    """Holds the lock of the parent folder of a model's folder until the context ends.

    Args:
        model_dir: folder of a model; its parent folder is made if missing.
    Raises:
        OSError: if the lock cannot be opened.
        GraftError: if another process has held it for 10 minutes.
    """
    if is_remote(model_dir):
        yield
        return
    folder = os.path.dirname(os.path.abspath(model_dir))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, FILE), "a+", encoding="utf-8") as file:
        _wait_for(file, folder)
        try:
            yield
        finally:
            _release(file)


def hold(path: str) -> IO[str]:
    """Makes a file and locks it while the file stays open, as a sign that its process is alive."""
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    _try(file)
    return file


def is_held(path: str) -> bool | None:
    """Tells whether a living process holds a file of `hold`; None if the file system has no locks."""
    try:
        with open(path, "r+", encoding="utf-8") as file:
            taken = _try(file)
            if taken:
                fcntl.flock(file, fcntl.LOCK_UN)
            return None if taken is None else not taken
    except FileNotFoundError:
        return False


def _wait_for(file: IO[str], folder: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while _try(file) is False:
        if time.monotonic() >= deadline:
            file.seek(0)
            owner = printable(file.read(200).strip()) or "another process"
            raise GraftError(
                f"{folder}: {owner} has been changing the versions here for {_WAIT_SECONDS:.0f} s. "
                "Wait for it or end it, and try again. Nothing was changed."
            )
        time.sleep(_LOOK_SECONDS)
    with contextlib.suppress(OSError):  # the text only names the owner for messages
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())


def _release(file: IO[str]) -> None:
    """Unlocks a file explicitly, because a forked process may still have the file open."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def _try(file: IO[Any]) -> bool | None:
    """Tries to take a lock, without waiting; returns None if the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True
