"""Checks the free disk space before a run, and explains a full disk in the middle of one."""

import errno
import os
import pathlib
import re
import shutil
import tempfile
from typing import NamedTuple

from rich.filesize import decimal

from pipeline.console.estimates import write_estimate
from schema.errors import GraftError, UsageError
from schema.text import printable
from serving.storage.gfile import is_remote

# The trained model, the pushed version and the copy that becomes it, 94 MB each; logs and metadata.
MODEL_BYTES = 400_000_000
_KEPT = "run the same command again: finished components are kept, and the live version stays live."
_ADVICE = {
    errno.ENOSPC: "Make room, and",
    errno.EDQUOT: "Make room, and",
    errno.EFBIG: "The file system or `ulimit -f` takes no larger file; raise the limit or choose another folder, and",
    errno.EROFS: "Make the folder writable or choose another one, and",
    errno.EIO: "The disk or the connection to it fails, and the system's log may say more; repair it, and",
}
_NAMES = "|".join(re.escape(os.strerror(number)) for number in _ADVICE)
_NUMBERS = {os.strerror(number): number for number in _ADVICE}
_END = r"(?=$| \[)"  # Beam and TensorFlow append the step or the operation in brackets
# Errors with words instead of a number, matched whole: the name of a file may contain the same words.
_PATTERNS = (
    # TensorFlow's, behind the name of the node: "{{node x}} /a/file; No space left on device [Op:SaveV2]".
    re.compile(rf"^(?:.*(?:Error: |\}}\}} ))?(?P<path>.*?); (?P<words>{_NAMES}){_END}", re.MULTILINE),
    # Python's, in a traceback from a worker of Beam: "OSError: [Errno 28] No space left on device: '/a/file'".
    re.compile(rf"OSError: \[Errno \d+\] (?P<words>{_NAMES})(?:: '(?P<path>.*)')?{_END}", re.MULTILINE),
)
_SQLITE = {
    "database or disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
    "attempt to write a readonly database": errno.EROFS,
}
# SQLite's words, alone or inside an error of ML Metadata.
_SQL = re.compile(rf"(?:^|Error when executing query: )({'|'.join(_SQLITE)})(?: query: |$)")


class _Trouble(NamedTuple):
    """Failure of a disk or a store: number of `errno`, path of the file or "", and the words of the error."""

    number: int
    path: str
    words: str


def check_free_space(out: str, needed: int) -> None:
    """Refuses a run that would fill the disk.

    Args:
        out: the workspace, which may be missing.
        needed: needed space in bytes.
    Raises:
        UsageError: if the disk has less free space.
    """
    free = measure_free_space(out)
    if free < needed:
        raise UsageError(
            f"{out}: a run needs about {write_estimate(needed)} here (the images once, and the models), "
            f"and {decimal(free)} are free. "
            "Make room, or choose another folder with --out."
        )


def measure_free_space(out: str) -> int:
    """Returns the free bytes on the disk of a folder, which may be missing."""
    path = pathlib.Path(os.path.abspath(out))
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if os.path.isdir(folder))).free


def explain_disk_error(error: BaseException, out: str) -> GraftError | None:
    """Returns an error with advice if the disk is the cause of another error; else None.

    Args:
        error: error of a run; None is returned for a GraftError, which has its own advice.
        out: the workspace, which a run writes to.
    """
    if isinstance(error, GraftError):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if trouble := _find_trouble(cause):
            return GraftError(_describe(trouble, out))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def _describe(trouble: _Trouble, out: str) -> str:
    number, path, words = trouble
    if is_remote(path):
        return f"{printable(path)}: the store fails: {words}. Look at the connection to it, and {_KEPT}"
    temporary = tempfile.gettempdir()
    place = printable(path) if path else f"{printable(out)}, or {temporary} for temporary files"
    if number != errno.EIO:
        done = "cannot be written"
    elif path and not any(_is_below(path, folder) for folder in (out, temporary)):
        done = "cannot be read"  # a run writes nowhere else
    else:
        done = "cannot be read or written"
    return f"{place}: {done}: {words}. {_ADVICE[number]} {_KEPT}"


def _is_below(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(folder), ""))


def _find_trouble(error: BaseException) -> _Trouble | None:
    if isinstance(error, OSError) and isinstance(error.errno, int):
        if error.errno not in _ADVICE:
            return None
        path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return _Trouble(error.errno, path, str(error.strerror) if is_remote(path) else os.strerror(error.errno))
    text = str(error)
    if found := _SQL.search(text):
        return _Trouble(_SQLITE[found[1]], "", found[1])
    for pattern in _PATTERNS:
        if found := pattern.search(text):
            return _Trouble(_NUMBERS[found["words"]], found["path"] or "", found["words"])
    return None
