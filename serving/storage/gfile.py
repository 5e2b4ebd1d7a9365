"""File operations wherever the files are: Python's own on this machine, TensorFlow's in a store such as gs://.

TensorFlow takes seconds to import; who only lists and renames versions should not wait for it.

A store has objects and no folders: a folder is what their names have in common up to a "/", and without an object it
is not there; an empty one may stand for it. One object appears whole, or not at all; several never do at once.
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

REQUESTS_AT_ONCE = 32  # a request waits some 50 ms, nearly all of it for the network

_BLOCK = 4096  # requests that wait in a queue, so that a million files are no million of them


def is_remote(path: str) -> bool:
    """Whether a path is in a store, and not a folder or file of this machine."""
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
    """What of `tf.io.gfile` serves a path; the names and arguments are TensorFlow's, the errors are Python's.

    Args:
        path: of a folder or file; with "://" in it, it is not on this machine.
    """
    return _build_remote() if is_remote(path) else _LOCAL


def set_defaults() -> None:
    """What TensorFlow's client of Google's storage reads from the environment, once, when it is imported.

    By default it clears 64 MB of memory for each file that it opens, ten times what reading a photograph costs; and it
    remembers sizes for five seconds, for which all threads ask one at a time.
    """
    os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "8")
    os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")


@functools.cache
def load_tensorflow() -> Any:
    """TensorFlow with all the file systems that are installed: tensorflow-io brings some, once it is imported."""
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
        # Written here and copied: a file of TensorFlow's is uploaded as far as it is, even if its writer fails.
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
        if tf_gfile.isdir(path) and listdir(path):  # of what it could not delete, Google's client says nothing
            raise OSError(errno.EIO, "not all of it could be removed", path)

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
    """Turns TensorFlow's errors into OSErrors, so that a caller need not know who has raised them."""
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
    """A file in a store.

    Attributes:
        path: with the scheme.
        size: in bytes.
        modified: modification time in nanoseconds since the epoch; 0 if the store does not say.
    """

    path: str
    size: int
    modified: int


def list_remote(folder: str) -> tuple[list[str], list[str]]:
    """The names of the sub-folders and of the files of a folder in a store, sorted.

    Raises:
        OSError: if it cannot be listed.
    """
    if folder.startswith("gs://"):
        folders, others = _list_names(folder)  # says which are folders; that spares a request a file
        return sorted(folders), sorted(others)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        [(names, files)] = _look_into([folder], threads)
    return names, sorted(os.path.basename(file.path) for file in files)


def walk_remote(roots: Sequence[str], follow: Callable[[str], bool] = lambda name: True) -> list[list[RemoteFile]]:
    """The files below folders of a store, at any depth. Costs a request a file, many of them at once.

    Args:
        roots: the folders.
        follow: whether to look into a sub-folder, by its name.
    Returns:
        For each root its files, in no order.
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
    """Whether an object is there only so that a folder is: as consoles make them, or as Hadoop does."""
    return path.endswith(("/", "_$folder$"))


def join(folder: str, name: str) -> str:
    """The path of something in a folder of a store."""
    return f"{folder.rstrip('/')}/{name}"


def _look_into(folders: Sequence[str], threads: ThreadPoolExecutor) -> Iterator[tuple[list[str], list[RemoteFile]]]:
    """For each folder the names of its sub-folders, and its files."""
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
    """Names of what is in a folder: sub-folders; and what may be either, for not every store says so.

    Google's client ends the name of a sub-folder with "/"; Amazon's does not.
    """
    with _python_errors(folder):
        # With a "/" in the end, for ram:// takes a name for the beginning of others'.
        names = load_tensorflow().io.gfile.listdir(join(folder, ""))
    folders = {name.strip("/") for name in names if name.endswith("/")} - {""}
    others = {name for name in names if not is_folder_marker(name)} - {""}
    return folders, others - folders


def _stat(path: str) -> Any:
    """TensorFlow's statistics of a file or folder; None if it is gone."""
    try:
        return gfile(path).stat(path)
    except FileNotFoundError:
        return None
