"""List of the files that an ingest left out, one line of JSON each."""

import json
import os
from collections.abc import Iterable

from serving.storage.documents import DocumentError, Fields
from serving.storage.gfile import gfile
from serving.storage.whole_files import write_whole

QUARANTINE = "quarantine.jsonl"
GONE = "gone since the folder was listed"  # reason of a file that vanished while the folder was read


class LeftOut(Fields):
    """File that was left out.

    Attributes:
        path: path relative to the data folder.
        label: class of the file.
        reason: reason why the file was left out.
        broken: whether no decoder of TensorFlow reads the file, or the file exceeds a limit; False for a copy of an
            image, and for an image in two classes.
    """

    path: str
    label: str
    reason: str
    broken: bool


def write_quarantine(folder: str, left_out: Iterable[LeftOut]) -> None:
    """Writes the list into a folder, whole or not at all.

    Raises:
        OSError: if the list cannot be written.
    """
    with write_whole(os.path.join(folder, QUARANTINE)) as path, gfile(path).GFile(path, "w") as file:
        file.write("".join(f"{entry.model_dump_json()}\n" for entry in left_out))


def read_quarantine(folder: str) -> list[LeftOut]:
    """Reads the list from a folder on this machine or in a store.

    Raises:
        DocumentError: if a line is damaged, or has missing or unknown fields.
        OSError: if the file is missing or cannot be read.
    """
    path = os.path.join(folder, QUARANTINE)
    with gfile(path).GFile(path) as file:  # only "\n" ends a line, not a U+2028 in a file name
        return [_parse(line, f"{path}, line {number}") for number, line in enumerate(file, 1)]


def _parse(line: str, source: str) -> LeftOut:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DocumentError(f"{source}: not JSON: {error}") from None
    return LeftOut.check(value, source)
