"""JSON documents: round trip of the fields, and errors that name file and field."""

import json
from typing import Any, Literal

import pytest

from serving.storage.documents import Document, DocumentError, Fields


class Count(Fields):
    """Part of a document."""

    images: int


class Verdict(Document):
    """Document of format 2; format 1 had no `accuracy` and called `classes` `names`."""

    FILE = "verdict.json"

    format: Literal[2] = 2
    blessed: bool
    classes: dict[str, Count]
    accuracy: float | None = None

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        return {"classes": value.pop("names"), **value} if found == 0 else value


GOOD = {"format": 2, "blessed": True, "classes": {"cät": {"images": 3}}, "accuracy": 0.5}


def read(tmp_path, value):
    (tmp_path / Verdict.FILE).write_text(value if isinstance(value, str) else json.dumps(value))
    return Verdict.read(str(tmp_path))


def test_what_is_written_is_read_again(tmp_path):
    verdict = Verdict(blessed=True, classes={"cät": Count(images=3)}, accuracy=0.5)
    verdict.write(str(tmp_path))
    assert Verdict.read(str(tmp_path)) == verdict
    assert json.loads((tmp_path / Verdict.FILE).read_text(encoding="utf-8")) == GOOD
    assert [path.name for path in tmp_path.iterdir()] == [Verdict.FILE]


def test_a_number_that_is_none_survives(tmp_path):
    Verdict(blessed=False, classes={}, accuracy=float("nan")).write(str(tmp_path))
    accuracy = Verdict.read(str(tmp_path)).accuracy
    assert accuracy is not None
    assert accuracy != accuracy


def test_an_older_format_is_upgraded(tmp_path):
    old = {"blessed": True, "names": {"cat": {"images": 3}}}
    assert read(tmp_path, old) == Verdict(blessed=True, classes={"cat": Count(images=3)})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": 3}, "format 3; this Graft reads up to 2"),
        ({"format": "2"}, 'format "2"; this Graft reads up to 2'),
        ({"colour": 1}, "unknown field colour"),
        ({"blessed": None}, "field blessed: input should be a valid boolean, got null"),
        ({"blessed": 1}, "field blessed: input should be a valid boolean, got 1"),
        ({"classes": {"cat": {}}}, "field classes.cat.images is missing"),
        ({"classes": {"cat": {"images": 1, "size": 2}}}, "unknown field classes.cat.size"),
        ({"classes": {"\x1b[2J": {}}}, "field classes.\\x1b[2J.images is missing"),
    ],
)
def test_a_wrong_field_is_told_by_file_and_name(tmp_path, changed, told):
    with pytest.raises(DocumentError) as caught:
        read(tmp_path, GOOD | changed)
    assert str(caught.value).startswith(f"{tmp_path / Verdict.FILE}: {told}")


@pytest.mark.parametrize(
    ("content", "told"),
    [("[]", "expected a JSON object, got []"), ("", "an empty file"), ('{"a"', "not JSON"), ("null", "got null")],
)
def test_what_is_no_document_is_told_by_file(tmp_path, content, told):
    with pytest.raises(DocumentError, match=Verdict.FILE) as caught:
        read(tmp_path, content)
    assert told in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DocumentError, match=r"verdict\.json: is missing"):
        Verdict.read(str(tmp_path))


def test_a_document_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Verdict(blessed=True, classes={}).blessed = False
