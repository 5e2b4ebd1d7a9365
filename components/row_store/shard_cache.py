"""Shards of a store such as gs://, fetched to this machine when their rows are read, and once.

GRAFT_CACHE names the folder to keep them in, from run to run and for all processes of a machine. Without it each
process has one of its own below the temporary folder, which goes when the process ends.
"""

import atexit
import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from schema.errors import GraftError
from serving.storage.gfile import gfile
from serving.storage.listing import list_names
from serving.storage.whole_files import TEMPORARY_SUFFIX, is_abandoned, name_temporary, write_whole

VARIABLE = "GRAFT_CACHE"
_LOCK, _UPLOAD = ".lock", "upload-"
_GB = 1e9


def fetch(path: str, anew: bool = False) -> str:
    """A copy of a file of a store on this machine.

    Threads and processes that want the same file wait for the first of them to bring it.

    Args:
        path: of the file; one of that name is never written twice, so a copy is never out of date.
        anew: whether to replace a copy that is there: it may be damaged.
    Returns:
        The path of the copy; it may go at any moment if another process finds that its original has gone.
    Raises:
        GraftError: if the disk has no room for it.
        OSError: if it is not in the store, or cannot be read or written.
    """
    local = _local_path(path)
    if os.path.exists(local) and not anew:
        return local
    os.makedirs(os.path.dirname(local), exist_ok=True)
    with _locked(local):
        if anew:
            with contextlib.suppress(FileNotFoundError):
                os.remove(local)
        if not os.path.exists(local):
            _copy(path, local)
    return local


@contextlib.contextmanager
def upload_folder() -> Iterator[str]:
    """An empty folder of this machine, for a file on its way into a store."""
    with tempfile.TemporaryDirectory(prefix=_UPLOAD, dir=_work_folder()) as folder:
        yield folder


def adopt(local: str, path: str) -> None:
    """Takes a file that has just been put into a store for its copy, if there is a folder to keep it in."""
    if VARIABLE in os.environ:
        target = _local_path(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(local, target)


def keep(folder: str, names: Iterable[str]) -> None:
    """Removes copies whose originals have gone from a folder of a store, and what a killed process left.

    Args:
        folder: of the store.
        names: of the files that are there.
    """
    copies, present = _local_folder(folder), set(names)
    for name in list_names(copies):
        path = os.path.join(copies, name)
        with contextlib.suppress(OSError):
            if _is_abandoned(path) if name.endswith(TEMPORARY_SUFFIX) else name.removesuffix(_LOCK) not in present:
                os.remove(path)
    for name in list_names(_work_folder()):
        path = os.path.join(_work_folder(), name)
        with contextlib.suppress(OSError):
            if name.startswith(_UPLOAD) and _is_abandoned(path):
                shutil.rmtree(path)


def _is_abandoned(path: str) -> bool:
    return is_abandoned(os.path.getmtime(path))


def free_bytes() -> int:
    """How much of the disk is free for copies."""
    return shutil.disk_usage(_work_folder()).free


def _work_folder() -> str:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return _process_folder()
    os.makedirs(folder, exist_ok=True)
    return folder


@functools.cache
def _process_folder() -> str:
    folder = tempfile.mkdtemp(prefix="graft-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _local_folder(folder: str) -> str:
    return os.path.join(_work_folder(), hashlib.sha256(folder.rstrip("/").encode()).hexdigest()[:16])


def _local_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_local_folder(folder), name)


@contextlib.contextmanager
def _locked(local: str) -> Iterator[None]:
    """One thread of one process at a time; the lock goes with whoever holds it."""
    with open(local + _LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(path: str, local: str) -> None:
    """Whole or not at all."""
    size, free = gfile(path).stat(path).length, free_bytes()
    if size > free:
        raise GraftError(
            f"{path}: {size / _GB:.1f} GB to fetch, and {_work_folder()} has {free / _GB:.1f} GB free. "
            f"Make room, or name a folder on a larger disk in {VARIABLE}."
        )
    with write_whole(local, name_temporary(local)) as temporary:
        gfile(path).copy(path, temporary)
