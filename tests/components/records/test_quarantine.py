"""The list of files that an ingest left out is read as it was written; a damaged line is named."""

import json

import pytest

from components.records.quarantine import QUARANTINE, LeftOut, read_quarantine, write_quarantine
from serving.storage.documents import DocumentError

COPY = LeftOut(path="cat/b.jpg", label="cat", reason="duplicate of cat/a.jpg", broken=False)
BROKEN = LeftOut(path="猫/a\u2028b\u0085c\nd.jpg", label="猫", reason='no "image"', broken=True)


def test_what_is_written_is_read_again(tmp_path):
    """A file name may contain any character: only a newline ends a line."""
    write_quarantine(str(tmp_path), [COPY, BROKEN])
    assert read_quarantine(str(tmp_path)) == [COPY, BROKEN]


@pytest.mark.parametrize("folder", ["here", "ram://quarantine/report"])
def test_an_empty_list_is_a_file(tmp_path, folder):
    """An ingest without left-out files writes an empty file, on this machine and in a store."""
    (tmp_path / "here").mkdir()
    folder = folder if "://" in folder else str(tmp_path / folder)
    write_quarantine(folder, [])
    assert read_quarantine(folder) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"path": "cat/a', "not JSON: "),
        (COPY.model_dump_json(exclude={"broken"}), "field broken is missing"),
        (json.dumps(COPY.model_dump() | {"width": 7}), "unknown field width"),
        (json.dumps(COPY.model_dump() | {"broken": 1}), "field broken: input should be a valid boolean, got 1"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, problem):
    """The error has the file, the number of the line and the field."""
    (tmp_path / QUARANTINE).write_text(f"{COPY.model_dump_json()}\n{line}\n")
    with pytest.raises(DocumentError) as error:
        read_quarantine(str(tmp_path))
    assert str(error.value).startswith(f"{tmp_path / QUARANTINE}, line 2: ")
    assert problem in str(error.value)
