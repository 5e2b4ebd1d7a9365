"""Atomic writing of files, with two writers as when Beam runs an element twice at once."""

import contextlib
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from components.embedder.artifact import ImageRow, write_embeddings
from serving.storage.whole_files import name_temporary, write_whole


@pytest.fixture
def target(tmp_path):
    """Returns the path of a new file, in a folder of which a reader reads every file."""
    (tmp_path / "Split-train").mkdir()
    return tmp_path / "Split-train" / "data"


def write(target, text, interrupt=lambda: None):
    """Writes a file in two steps."""
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


def test_a_temporary_file_of_a_given_name_lies_beside_the_target(target):
    """Housekeeping knows it by that name; a new one each time, for two may write at once."""
    names = name_temporary(str(target)), name_temporary(str(target))
    assert names[0] != names[1]
    for name in (*names, ".hidden.part"):
        with write_whole(str(target), name) as path:
            assert path == str(target.parent / name)
            pathlib.Path(path).write_text(name)
        assert [(file.name, file.read_text()) for file in target.parent.iterdir()] == [("data", name)]


def test_a_synced_file_is_on_the_disk_before_it_has_its_name(target, monkeypatch):
    """A rename may reach the disk before the bytes; then comes the folder, which has the name."""
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}"))), fsync(file))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("replace"), replace(*paths)))
    with write_whole(str(target), "new.tmp", sync=True) as path:
        pathlib.Path(path).write_text("text")
    assert steps == ["new.tmp", "replace", "Split-train"]
    steps.clear()
    write(target, "text")
    assert steps == ["replace"]


def test_a_modification_time_is_kept(target):
    """In nanoseconds."""
    with write_whole(str(target), modified=1_700_000_000_123_456_789) as path:
        pathlib.Path(path).write_text("text")
    assert target.stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_in_a_store_an_object_is_whole_by_itself():
    """No other object is made, and one that is half written is not sent; ram:// is a store of TensorFlow's."""
    with contextlib.suppress(RuntimeError):
        write("ram://whole/folder/data", "text", lambda: (_ for _ in ()).throw(RuntimeError))
    assert not tf.io.gfile.exists("ram://whole/folder/data")
    write("ram://whole/folder/data", "text")
    assert tf.io.gfile.GFile("ram://whole/folder/data").read() == "text"
    assert tf.io.gfile.glob("ram://whole/folder/*") == ["ram://whole/folder/data"]


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
