"""Files that are there whole or not at all, though Beam may run one element twice, one after the other or at once."""

import contextlib
import os
import uuid
from collections.abc import Iterator

from serving.storage.gfile import gfile


@contextlib.contextmanager
def write_whole(target: str) -> Iterator[str]:
    """Gives a path to write to, which no other writer has; in the end what is there takes the place of a file.

    It lies beside the folder of the file: readers take every file of that folder for theirs, and a process that is
    killed leaves its own behind.

    Args:
        target: the file; one that is there is replaced.
    Raises:
        OSError: if the file cannot take its place; then nothing is left behind.
    """
    folder, name = os.path.split(target)
    above = os.path.dirname(folder)
    if above.endswith(":"):  # a bucket is beside nothing
        above = folder
    temporary = os.path.join(above, f"_temporary_{uuid.uuid4().hex}_{name}")
    try:
        yield temporary
        gfile(target).rename(temporary, target, overwrite=True)
    except BaseException:
        with contextlib.suppress(OSError):
            gfile(target).remove(temporary)
        raise
