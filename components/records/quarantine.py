"""List of the files that an ingest left out: a line of JSON each."""

import json
import os
from collections.abc import Iterable

from serving.storage.documents import DocumentError, Fields
from serving.storage.gfile import gfile
from serving.storage.whole_files import write_whole

QUARANTINE = "quarantine.jsonl"


class LeftOut(Fields):
    """File that was left out.

    Attributes:
        path: relative to the data folder.
        label: its class.
        reason: why it was left out.
        broken: whether no decoder of TensorFlow reads the file, or it exceeds a limit; else it is a copy of an image,
            or stands in two classes.
    """

    path: str
    label: str
    reason: str
    broken: bool


def write_quarantine(folder: str, left_out: Iterable[LeftOut]) -> None:
    """Writes the list into a folder, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with write_whole(os.path.join(folder, QUARANTINE)) as path, gfile(path).GFile(path, "w") as file:
        file.write("".join(f"{entry.model_dump_json()}\n" for entry in left_out))


def read_quarantine(folder: str) -> list[LeftOut]:
    """Reads the list from a folder, here or in a store.

    Raises:
        DocumentError: if a line is damaged, or has not the fields that it should have.
        OSError: if there is no such file, or it cannot be read.
    """
    path = os.path.join(folder, QUARANTINE)
    with gfile(path).GFile(path) as file:  # lines end at "\n" alone: U+2028 in a file name ends none
        return [_parse(line, f"{path}, line {number}") for number, line in enumerate(file, 1)]


def _parse(line: str, source: str) -> LeftOut:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DocumentError(f"{source}: not JSON: {error}") from None
    return LeftOut.check(value, source)
