"""Listings of folders, on this machine and in a store."""

import os

import pytest
import tensorflow as tf

from serving.storage.contents import digest_contents
from serving.storage.listing import list_files, list_names, measure

FILES = {"a": b"12", "below/b": b"345", "below/deeper/c": b"6"}


@pytest.fixture(params=["here", "ram"])
def folder(request, tmp_path):
    """Returns a folder with `FILES`, on this machine and in a store of TensorFlow."""
    root = str(tmp_path / "root") if request.param == "here" else f"ram://listing{tmp_path}"
    for name, content in FILES.items():
        tf.io.gfile.makedirs(os.path.dirname(f"{root}/{name}"))
        with tf.io.gfile.GFile(f"{root}/{name}", "wb") as file:
            file.write(content)
    return root


def test_names_are_those_of_the_folder_alone(folder):
    assert list_names(folder) == ["a", "below"]
    assert list_names(f"{folder}/missing") == []


def test_files_are_found_at_any_depth(folder):
    assert list_files(folder) == [f"{folder}/{name}" for name in FILES]
    assert list_files(f"{folder}/missing") == []


def test_bytes_are_added_up(folder):
    assert measure(folder) == 6
    assert measure(f"{folder}/missing") == 0


def test_what_is_no_file_has_no_bytes(tmp_path):
    """A pipe, and a link to nowhere; neither is opened."""
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert measure(str(tmp_path)) == 2


def test_the_digest_is_that_of_the_bytes_in_order(folder):
    """SHA-256 of "12345", from sha256sum."""
    digest = digest_contents(f"{folder}/a", f"{folder}/below/b")
    assert digest == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    with pytest.raises(FileNotFoundError):
        digest_contents(f"{folder}/missing")
