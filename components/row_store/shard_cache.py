"""Cache of shards of an object store such as gs:// on the disk of this machine; each shard is downloaded once.

GRAFT_CACHE names the folder of the cache, which stays from run to run and serves all processes of a machine. Without
GRAFT_CACHE each process has a temporary folder, which is removed when the process ends.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from schema.errors import GraftError
from serving.process.temporary_files import remove_at_exit
from serving.storage.gfile import gfile
from serving.storage.listing import list_names
from serving.storage.whole_files import TEMPORARY_SUFFIX, is_abandoned, name_temporary, write_whole

VARIABLE = "GRAFT_CACHE"
_LOCK, _UPLOAD = ".lock", "upload-"
_GB = 1e9


def fetch(path: str, anew: bool = False) -> str:
    """Returns the path of a local copy of a file, and downloads the file if no copy exists.

    Threads and processes that fetch the same file wait for the first download.

    Args:
        path: URI of the file. No name is written twice, so a copy is never out of date.
        anew: True to download the file again, because the copy may be damaged.
    Returns:
        The path of the copy. Another process removes the copy once the file is gone from the store.
    Raises:
        GraftError: if the disk lacks the space for the copy.
        OSError: if the file is not in the store, or cannot be read or written.
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
    """Creates an empty folder on this machine for a file to upload, and removes the folder when the context ends."""
    with tempfile.TemporaryDirectory(prefix=_UPLOAD, dir=_work_folder()) as folder:
        yield folder


def adopt(local: str, path: str) -> None:
    """Moves a file that was just uploaded into the cache; without GRAFT_CACHE the file stays where it is."""
    if VARIABLE in os.environ:
        target = _local_path(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(local, target)


def remove_stale(folder: str, names: Iterable[str]) -> None:
    """Removes copies of files that are gone from a folder of the store, and temporary files of killed processes.

    Args:
        folder: URI of the folder.
        names: names of the files in that folder.
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
    """Returns the free space for copies on this machine, in bytes."""
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
    remove_at_exit(folder)
    return folder


def _local_folder(folder: str) -> str:
    return os.path.join(_work_folder(), hashlib.sha256(folder.rstrip("/").encode()).hexdigest()[:16])


def _local_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_local_folder(folder), name)


@contextlib.contextmanager
def _locked(local: str) -> Iterator[None]:
    """Holds a lock on a copy, against other threads and processes; the lock ends with the process that holds it."""
    with open(local + _LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(path: str, local: str) -> None:
    """Downloads a file through a temporary file, so that no torn copy appears."""
    size, free = gfile(path).stat(path).length, free_bytes()
    if size > free:
        raise GraftError(
            f"{path}: {size / _GB:.1f} GB to fetch, and {_work_folder()} has {free / _GB:.1f} GB free. "
            f"Make room, or name a folder on a larger disk in {VARIABLE}."
        )
    with write_whole(local, name_temporary(local)) as temporary:
        gfile(path).copy(path, temporary)
