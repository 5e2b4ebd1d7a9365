"""Set of the images of a run, with which the next run counts its new images."""

import hashlib
import pathlib
import uuid

import numpy as np
import pytest
import tensorflow as tf

from components.example_gen import image_set


def digest(name):
    return hashlib.sha256(name.encode()).hexdigest()


def make(*names, label="cat"):
    """The keys of images of these names."""
    return image_set.make((digest(name), label) for name in names)


@pytest.fixture(params=["disk", "ram"])
def folder(request, tmp_path):
    """A folder on disk, and one of TensorFlow's."""
    path = str(tmp_path) if request.param == "disk" else f"ram://image-set-{uuid.uuid4().hex}"
    tf.io.gfile.makedirs(path)
    return path


def test_the_keys_do_not_depend_on_the_order_of_the_images():
    """The keys are sorted."""
    np.testing.assert_array_equal(make("a", "b", "c"), make("c", "a", "b"))
    assert len(make("a", "b", "c")) == 3


def test_new_and_gone_images_are_counted():
    """Of three seen, one is gone; two are new."""
    assert image_set.compare(make("b", "c", "d", "e"), make("a", "b", "c")) == (2, 1)


def test_the_same_images_are_neither_new_nor_gone():
    """The files that hold the images do not matter."""
    assert image_set.compare(make("a", "b"), make("b", "a")) == (0, 0)


def test_a_relabelled_image_is_another_one():
    """One image counts as new and one as gone, because the model has learnt a wrong label."""
    seen = np.sort(np.concatenate([make("a", "b"), make("c", label="dog")]))
    assert image_set.compare(make("a", "b", "c"), seen) == (1, 1)


def test_label_and_digest_do_not_run_together():
    """The key separates digest and label."""
    assert image_set.make([("ab", "c")]) != image_set.make([("a", "bc")])


@pytest.mark.parametrize("names", [(), ("a",)])
def test_with_none_all_are_new_or_gone(names):
    """An empty set is a valid set."""
    assert image_set.compare(make(*names), make()) == (len(names), 0)
    assert image_set.compare(make(), make(*names)) == (0, len(names))


@pytest.mark.parametrize("names", [(), ("a",), tuple("abcdef")], ids=len)
def test_what_was_written_is_read(folder, names):
    """On disk and in a store; of no images, too."""
    keys = make(*names)
    image_set.write(folder, keys)
    read = image_set.read(folder)
    np.testing.assert_array_equal(read, keys)
    assert read.dtype == np.uint64


def test_what_an_older_graft_wrote_is_no_set(folder):
    """The result is None, not an empty set."""
    assert image_set.read(folder) is None


def test_a_key_is_eight_bytes_on_any_machine(tmp_path):
    """Little-endian: the first eight of the digest of digest and label."""
    image_set.write(str(tmp_path), make("a"))
    expected = hashlib.sha256(f"{digest('a')} cat".encode()).digest()[:8]
    assert pathlib.Path(tmp_path / image_set.FILE).read_bytes() == expected
