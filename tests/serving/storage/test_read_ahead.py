"""Read-ahead: files come in order, and many requests to a store run at once."""

import threading
import uuid

import pytest
import tensorflow as tf

from serving.storage import read_ahead
from serving.storage.gfile import REQUESTS_AT_ONCE
from serving.storage.read_ahead import read_files


@pytest.fixture(params=["ram", "local"])
def folder(request, tmp_path):
    return f"ram://{uuid.uuid4().hex}" if request.param == "ram" else str(tmp_path)


def write(folder, count):
    paths = [f"{folder}/{number:03d}" for number in range(count)]
    for path in paths:
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(path[-3:])
    return [(path, 3) for path in paths]


@pytest.mark.parametrize("count", [0, 1, REQUESTS_AT_ONCE, 100])
def test_files_come_in_their_order(folder, count):
    """For any number of files."""
    assert list(read_files(write(folder, count))) == [b"%03d" % number for number in range(count)]


@pytest.mark.parametrize("listed", [0, 2, 9])
def test_a_file_that_has_changed_since_it_was_listed_is_read_as_it_is(folder, listed):
    """Shorter or longer: all of it."""
    [(path, _)] = write(folder, 1)
    assert list(read_files([(path, listed)])) == [b"000"]


def test_a_file_that_cannot_be_read_is_an_error_in_its_place(folder):
    """The others come."""
    paths = write(folder, 2)
    first, missing, last = read_files([paths[0], (f"{folder}/nowhere", 3), paths[1]])
    assert (first, last) == (b"000", b"001")
    assert isinstance(missing, FileNotFoundError | tf.errors.NotFoundError)


def test_no_more_are_read_than_fit_and_those_of_this_machine_one_by_one(folder, monkeypatch):
    """Files are read only as the caller takes them."""
    started, lock, read = [], threading.Lock(), read_ahead._read

    def count(path, size):
        with lock:
            started.append(path)
        return read(path, size)

    monkeypatch.setattr(read_ahead, "_read", count)
    files = read_files(write(folder, 100))
    next(files)
    assert len(started) <= (REQUESTS_AT_ONCE if folder.startswith("ram") else 1)
    files.close()
