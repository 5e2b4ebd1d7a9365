"""File functions by path: Python's own on this machine, TensorFlow's in a store such as gs://.

TensorFlow is imported on first use of a store: its import takes seconds, which local operations do not need.

A store has objects and no folders. A folder is a common beginning of object names up to a "/": it exists while it has
an object, and an empty object may stand for the folder itself. One object is written atomically; several are not.
"""

import contextlib
import dataclasses
import errno
import functools
import itertools
import os
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

REQUESTS_AT_ONCE = 32  # a request takes some 50 ms, most of that time for the network

_BLOCK = 4096  # maximum number of queued requests, also for a million files


def is_remote(path: str) -> bool:
    """Tells whether a path is in a store, and not on this machine."""
    return "://" in path


def _open(path: str, mode: str = "r") -> IO[Any]:
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


def _rename(source: str, target: str, overwrite: bool = False) -> None:
    if not overwrite and os.path.lexists(target):  # os.rename replaces a file and an empty folder
        raise FileExistsError(errno.EEXIST, "something is there already", target)
    os.replace(source, target)


_LOCAL = types.SimpleNamespace(
    GFile=_open,
    exists=os.path.exists,
    isdir=os.path.isdir,
    listdir=os.listdir,
    makedirs=functools.partial(os.makedirs, exist_ok=True),
    remove=os.remove,
    rename=_rename,
    rmtree=shutil.rmtree,
)


def gfile(path: str) -> Any:
    """Returns the file functions for a local or remote path, with the names and arguments of `tf.io.gfile`.

    The functions raise Python's OSError, also for a store.

    Args:
        path: path of a file or folder; a path with "://" is in a store.
    """
    return _build_remote() if is_remote(path) else _LOCAL


def set_defaults() -> None:
    """Sets environment variables for TensorFlow's client of Google's storage, which reads them at its import.

    By default, the client clears 64 MB of memory per opened file, which takes ten times as long as reading a
    photograph. It also caches file sizes for five seconds, behind a lock that all threads share.
    """
    os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "8")
    os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")


@functools.cache
def load_tensorflow() -> Any:
    """Imports TensorFlow, and tensorflow-io if it is installed, which adds file systems."""
    import tensorflow as tf

    with contextlib.suppress(ImportError):
        import tensorflow_io  # noqa: F401

    return tf


@functools.cache
def _build_remote() -> types.SimpleNamespace:
    tf_gfile = load_tensorflow().io.gfile

    @contextlib.contextmanager
    def open_file(path: str, mode: str = "r") -> Iterator[IO[Any]]:
        if not mode.startswith("w"):
            with _python_errors(path), tf_gfile.GFile(path, mode) as file:
                yield file
            return
        # Written to a local file and copied, because TensorFlow would upload a partial file when the writer fails.
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "file")
            with _open(local, mode) as file:
                yield file
            with _python_errors(path):
                tf_gfile.copy(local, path, overwrite=True)

    def listdir(path: str) -> list[str]:
        folders, others = _list_names(path)
        return sorted(folders | others)

    def rmtree(path: str) -> None:
        tf_gfile.rmtree(path)
        if tf_gfile.isdir(path) and listdir(path):  # Google's client does not report objects that it could not delete
            raise OSError(errno.EIO, "some files could not be removed", path)

    same = ("copy", "exists", "isdir", "makedirs", "remove", "rename", "stat")
    operations = {name: getattr(tf_gfile, name) for name in same} | {"listdir": listdir, "rmtree": rmtree}
    return types.SimpleNamespace(GFile=open_file, **{name: _translate(call) for name, call in operations.items()})


def _translate(operation: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: str, *args: Any, **options: Any) -> Any:
        with _python_errors(path):
            return operation(path, *args, **options)

    return call


@contextlib.contextmanager
def _python_errors(path: str) -> Iterator[None]:
    """Converts errors of TensorFlow to OSError, so that callers handle one kind of error."""
    errors = load_tensorflow().errors
    try:
        yield
    except errors.OpError as error:
        number = {
            errors.NOT_FOUND: errno.ENOENT,
            errors.ALREADY_EXISTS: errno.EEXIST,
            errors.PERMISSION_DENIED: errno.EACCES,
            errors.UNAUTHENTICATED: errno.EACCES,
        }.get(error.error_code, errno.EIO)
        text = str(error.message).strip().partition("\n")[0]
        raise OSError(number, text or os.strerror(number), path) from error


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """File in a store.

    Attributes:
        path: path with the scheme.
        size: size in bytes.
        modified: modification time in nanoseconds since the epoch; 0 if the store has none.
    """

    path: str
    size: int
    modified: int


def list_remote(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the sub-folders and of the files of a folder in a store, each sorted.

    Raises:
        OSError: if the folder cannot be listed.
    """
    if folder.startswith("gs://"):
        folders, others = _list_names(folder)  # the listing tells folders from files, which saves a request per file
        return sorted(folders), sorted(others)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        [(names, files)] = _look_into([folder], threads)
    return names, sorted(os.path.basename(file.path) for file in files)


def walk_remote(roots: Sequence[str], follow: Callable[[str], bool] = lambda name: True) -> list[list[RemoteFile]]:
    """Lists the files below folders of a store, at any depth, with one request per file and many at once.

    Args:
        roots: folders.
        follow: function from the name of a sub-folder to whether its files are listed.
    Returns:
        A list of files per root, in no order.
    Raises:
        OSError: if a folder cannot be listed.
    """
    found: list[list[RemoteFile]] = [[] for _ in roots]
    level = list(enumerate(roots))
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        while level:
            below = []
            looked_into = _look_into([folder for _, folder in level], threads)
            for (root, folder), (names, files) in zip(level, looked_into, strict=True):
                found[root] += files
                below += [(root, join(folder, name)) for name in names if follow(name)]
            level = below
    return found


def is_folder_marker(path: str) -> bool:
    """Tells whether an object only stands for a folder, as web consoles and Hadoop make such objects."""
    return path.endswith(("/", "_$folder$"))


def join(folder: str, name: str) -> str:
    """Joins a folder and a name with one "/"."""
    return f"{folder.rstrip('/')}/{name}"


def _look_into(folders: Sequence[str], threads: ThreadPoolExecutor) -> Iterator[tuple[list[str], list[RemoteFile]]]:
    """Yields, per folder, the names of its sub-folders and its files."""
    listed = [names for block in _blocks(folders) for names in threads.map(_list_names, block)]
    unsure = [join(folder, name) for folder, (_, names) in zip(folders, listed, strict=True) for name in sorted(names)]
    stats = (stat for block in _blocks(unsure) for stat in threads.map(_stat, block))
    for folder, (names, others) in zip(folders, listed, strict=True):
        found, files = set(names), []
        for name, stat in zip(sorted(others), itertools.islice(stats, len(others)), strict=True):
            if stat and stat.is_directory:
                found.add(name)
            elif stat:
                files.append(RemoteFile(join(folder, name), stat.length, stat.mtime_nsec))
        yield sorted(found), files


def _blocks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK))


def _list_names(folder: str) -> tuple[set[str], set[str]]:
    """Returns the names of the sub-folders of a folder, and the names of files and possible sub-folders.

    Google's client marks a sub-folder by a "/" at the end of its name; Amazon's does not.
    """
    with _python_errors(folder):
        # The path ends with "/", because ram:// would also list longer names with the same beginning.
        names = load_tensorflow().io.gfile.listdir(join(folder, ""))
    folders = {name.strip("/") for name in names if name.endswith("/")} - {""}
    others = {name for name in names if not is_folder_marker(name)} - {""}
    return folders, others - folders


def _stat(path: str) -> Any:
    """Returns TensorFlow's statistics of a file or folder; None if the path is gone."""
    try:
        return gfile(path).stat(path)
    except FileNotFoundError:
        return None
