"""Whether there is room, and what to say when there is none in the middle of a run."""

import errno
import os
import shutil

from schema.errors import GraftError, UsageError

# The trained model, the pushed version and one on its way there, 94 MB each; logs and metadata.
MODEL_BYTES = 400_000_000
_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# What TensorFlow, Beam and SQLite say of these, for they pass no number on; and what it means.
_WORDS = {
    "no space left": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "disk i/o": errno.EIO,
}


def check_free_space(out: str, needed: int) -> None:
    """Refuses a run that would end in a full disk.

    Args:
        out: the workspace.
        needed: in bytes.
    Raises:
        UsageError: if there is less.
    """
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UsageError(
            f"{out}: a run needs about {needed / 1e9:.1f} GB here (the images once, and the models), "
            f"and {free / 1e9:.1f} GB are free. "
            "Make room, or choose another folder with --out."
        )


def explain_disk_error(error: BaseException, out: str) -> GraftError | None:
    """An error with what to do, if the cause of another one is the disk; else None."""
    cause: BaseException | None = error
    while cause is not None:
        if number := _find_number(cause):
            return GraftError(
                f"{out}: cannot be written: {os.strerror(number)}. Make room, and run the same command again: "
                "what is finished is kept, and what was live is live."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _find_number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno in _ERRORS:
        return error.errno
    text = str(error).lower()
    return next((number for words, number in _WORDS.items() if words in text), None)
