"""Files of a split form one whole set; files of another run are an error."""

import pytest

from components.example_files import list_files, list_split, name_file
from schema.errors import GraftError


def make(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return [str(folder / name) for name in names]


def name_all(count):
    return [name_file(index, count) for index in range(count)]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_whole_set_is_listed_in_order(tmp_path, count):
    """For any number of files."""
    expected = make(tmp_path / "Split-train", *name_all(count))
    assert list_split(str(tmp_path / "Split-train")) == expected


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        ([], "data_tfrecord-00000-of-00001 is missing"),
        ([*name_all(3), *name_all(5)], "data_tfrecord-00000-of-00003 is of another"),
        ([*name_all(1), *name_all(2)], "data_tfrecord-00000-of-00001 is of another"),
        (name_all(3)[:2], "data_tfrecord-00002-of-00003 is missing"),
        ([name_file(3, 3), *name_all(3)], "data_tfrecord-00003-of-00003 is of another"),
        ([*name_all(2), "notes.txt"], "notes.txt is of another"),
        ([*name_all(2), "a\x1b[2J"], r"a\\x1b\[2J is of another"),
    ],
    ids=["none", "two sets", "more images", "incomplete", "beyond the end", "foreign", "control characters"],
)
def test_an_incomplete_or_mixed_set_is_refused(tmp_path, names, wrong):
    """The message has the folder, the expected names, the wrong name and the remedy."""
    make(tmp_path / "Split-train", *names)
    with pytest.raises(GraftError, match=f"Split-train: expected .*{wrong}.*graft repair"):
        list_split(str(tmp_path / "Split-train"))


def test_patterns_of_tfx_stand_for_splits_and_files(tmp_path):
    """A pattern without * is a file of any name; a missing folder is an error."""
    split = make(tmp_path / "Split-train", *name_all(2))
    [file] = make(tmp_path / "other", "any name")
    assert list_files([str(tmp_path / "Split-train" / "*"), file]) == [*split, file]
    with pytest.raises(GraftError, match="Split-val: expected"):
        list_files([str(tmp_path / "Split-val" / "*")])
