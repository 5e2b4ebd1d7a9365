"""Two writers of one file, as where Beam runs an element twice at once."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from components.embedder.artifact import ImageRow, write_embeddings
from serving.storage.whole_files import write_whole


@pytest.fixture
def target(tmp_path):
    """A file to be, in a folder whose files a reader takes all for its own."""
    (tmp_path / "Split-train").mkdir()
    return tmp_path / "Split-train" / "data"


def write(target, text, interrupt=lambda: None):
    """Writes one file in two steps."""
    with write_whole(str(target)) as path, open(path, "w") as file:
        file.write(text[:1])
        interrupt()
        file.write(text[1:])


def test_two_writers_at_once_spoil_nothing(target):
    """The second writes while the first is at it; each file is whole, and the last one stays."""
    read = []

    def write_again():
        write(target, "second")
        read.append(target.read_text())

    write(target, "first", write_again)
    assert [*read, target.read_text()] == ["second", "first"]


def test_what_is_half_written_is_in_no_readers_way(target):
    """A process that is killed leaves it; the folder has whole files alone."""
    found = []
    write(target, "text", lambda: found.append(list(target.parent.iterdir())))
    assert found == [[]]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_what_was_there(target, tmp_path, error):
    """Neither half a file nor a temporary one."""

    def fail():
        raise error

    write(target, "before")
    with contextlib.suppress(OSError, KeyboardInterrupt):
        write(target, "after", fail)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["Split-train"]


def test_embeddings_that_are_written_twice_at_once_are_whole(target):
    """A file of the Embedder; while its rows are asked for, another attempt writes the same file."""

    def rows(again):
        yield ImageRow(b"0" * 32, b"cat", b"a.jpg")
        if again:
            write_embeddings(str(target), rows(False), np.zeros([2, 2048], np.float32))
        yield ImageRow(b"1" * 32, b"dog", b"b.jpg")

    write_embeddings(str(target), rows(True), np.ones([2, 2048], np.float32))
    examples = [
        tf.train.Example.FromString(record) for record in tf.data.TFRecordDataset(str(target)).as_numpy_iterator()
    ]
    assert [example.features.feature["path"].bytes_list.value[0] for example in examples] == [b"a.jpg", b"b.jpg"]
