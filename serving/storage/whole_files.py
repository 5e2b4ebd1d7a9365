"""Atomic writing of files, also with several writers at once and killed processes."""

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator

from serving.storage import durable
from serving.storage.gfile import gfile, is_remote

TEMPORARY_SUFFIX = ".tmp"
_ABANDONED_SECONDS = 24 * 3600.0  # far more than the time to write a file or push a version


@contextlib.contextmanager
def write_whole(target: str, temporary: str = "", sync: bool = False, modified: int | None = None) -> Iterator[str]:
    """Yields a unique local path to write to, and renames the written file to the target when the context ends.

    For a store, the file is uploaded as one object, which is atomic, too.

    Args:
        target: path of the file; an existing file is replaced.
        temporary: name of the file during writing, in the folder of the target. A killed process leaves the file
            behind, so the name must be one that the cleanup of the folder knows, such as from `name_temporary`. By
            default the file lies beside the folder, because some readers read every file of a folder.
        sync: whether the file is synced to the disk before the rename, and its name afterwards.
        modified: modification time in nanoseconds since the epoch; None for the time of writing. Ignored in a store.
    Raises:
        OSError: if the file cannot be renamed or uploaded; then the temporary file is removed.
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
    """Returns a unique name for a temporary file of the target, in the same folder."""
    return f"{os.path.basename(target)}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"


def is_abandoned(modified: float) -> bool:
    """Tells whether a temporary file or folder with this time of change, in seconds, was left by a killed process."""
    return time.time() - modified > _ABANDONED_SECONDS
