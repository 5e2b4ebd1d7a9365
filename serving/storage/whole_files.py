"""Files that are there whole or not at all, though two processes may write one at once, or one may be killed."""

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator

from serving.storage import durable
from serving.storage.gfile import gfile, is_remote

TEMPORARY_SUFFIX = ".tmp"
_ABANDONED_SECONDS = 24 * 3600.0  # a file is written in minutes, and a version is pushed in less than a day


@contextlib.contextmanager
def write_whole(target: str, temporary: str = "", sync: bool = False, modified: int | None = None) -> Iterator[str]:
    """Gives a path of this machine to write to, which no other writer has; in the end that file becomes the target.

    In a store the file becomes an object, which is whole by itself.

    Args:
        target: the file; one that is there is replaced.
        temporary: name of the file while it is written, in the folder of the target; from `name_temporary`, or another
            that the housekeeping of the folder knows, for a process that is killed leaves it behind. By default the
            file lies beside that folder: some readers take every file of a folder for theirs.
        sync: whether the file is on the disk before it has its name, and the name before this context ends.
        modified: modification time in nanoseconds since the epoch, that of writing by default; none in a store.
    Raises:
        OSError: if the file cannot take its place; then nothing is left behind.
    """
    if is_remote(target):
        with tempfile.TemporaryDirectory() as upload:
            path = os.path.join(upload, "file")
            yield path
            gfile(target).copy(path, target, overwrite=True)
        return
    folder, name = os.path.split(target)
    beside = os.path.join(os.path.dirname(folder), f"_temporary_{uuid.uuid4().hex}_{name}")
    path = os.path.join(folder, temporary) if temporary else beside
    try:
        yield path
        if modified is not None:
            os.utime(path, ns=(modified, modified))
        if sync:
            durable.sync_file(path)
        gfile(target).rename(path, target, overwrite=True)
        if sync:
            durable.sync_folder(folder or os.curdir)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise


def name_temporary(target: str) -> str:
    """Returns a new name for a file that is written to become the target, in the same folder."""
    return f"{os.path.basename(target)}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"


def is_abandoned(modified: float) -> bool:
    """Tells whether what was last changed then, in seconds since the epoch, is no longer being written."""
    return time.time() - modified > _ABANDONED_SECONDS
