"""Sample images of a split, for requests to a model server."""

import pytest
import tensorflow as tf

from components.transform import samples
from components.transform.samples import get_image, sample_examples


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes lists of records to files and returns the paths."""

    def write_files(*files):
        paths = [str(tmp_path / f"{index:03d}") for index in range(len(files))]
        for path, records in zip(paths, files, strict=True):
            with tf.io.TFRecordWriter(path) as writer:
                for record in records:
                    writer.write(record)
        return paths

    return write_files


def test_examples_are_spread_over_the_files(write):
    """Each file gives one example before any gives a second; many files are sampled at equal distances."""
    files = write(*([b"%d %d" % (file, row) for row in range(3)] for file in range(8)))
    assert sample_examples(files[:2], 4) == [b"0 0", b"1 0", b"0 1", b"1 1"]
    assert sample_examples(files, 4) == [b"0 0", b"2 0", b"4 0", b"6 0"]


def test_there_may_be_fewer(write):
    """Empty files, or no files, give fewer examples than asked for."""
    assert sample_examples(write([], [b"a"], []), 4) == [b"a"]
    assert sample_examples(write([], []), 4) == sample_examples([], 4) == []


def test_large_examples_are_left_out_where_there_are_small_ones(write, monkeypatch):
    """Without small ones, the smallest of the large examples is picked."""
    monkeypatch.setattr(samples, "LARGEST", 5)
    assert sample_examples(write([b"a" * 9, b"b" * 3, b"c" * 8]), 2) == [b"b" * 3]
    assert sample_examples(write([b"a" * 9, b"b" * 7, b"c" * 8]), 2) == [b"b" * 7]


def test_not_all_of_a_large_split_is_read(write, monkeypatch):
    """The smallest of the first 256 is picked from a thousand large examples."""
    monkeypatch.setattr(samples, "LARGEST", 5)
    assert sample_examples(write([b"a" * 9] * 999 + [b"b"]), 1) == [b"a" * 9]


def test_the_image_of_an_example_are_its_bytes(serialize, encode_image):
    """The bytes are those of the file."""
    image = encode_image("gif")
    assert get_image(serialize(image, "cat")) == image
