"""Finding the weights of the base."""

import hashlib
import socket

import pytest

from pipeline import weights
from schema.errors import UsageError

HDF5 = b"\x89HDF\r\n\x1a\nand more"


def test_random_needs_no_file():
    """Nothing to look for."""
    assert weights.find_weights("random") == ("random", "random")


def test_file_is_found_with_its_digest(tmp_path):
    """Other contents under the same name must retrain."""
    file = tmp_path / "notop.h5"
    file.write_bytes(HDF5)
    assert weights.find_weights(str(file)) == (str(file), hashlib.sha256(HDF5).hexdigest())


def test_missing_file_says_what_is_expected(tmp_path):
    """The three forms that the setting may have."""
    with pytest.raises(UsageError, match=r"no such file\. Expected 'imagenet', 'random' or the path"):
        weights.find_weights(str(tmp_path / "nothing.h5"))


def test_file_that_is_no_hdf5_is_refused_before_the_run(tmp_path):
    """A page saved instead of the file, a text: seconds lost, not a run."""
    (tmp_path / "notop.h5").write_text("<html>")
    with pytest.raises(UsageError, match=r"not an HDF5 file\. Expected 'imagenet'"):
        weights.find_weights(str(tmp_path / "notop.h5"))


def test_imagenet_without_network_says_which_file_to_bring(tmp_path, monkeypatch):
    """The name of the file, its checksum and the folder."""
    monkeypatch.setattr(weights, "_CACHE", tmp_path)
    monkeypatch.setattr(weights, "_URL", "http://127.0.0.1:9/weights.h5")  # the discard port: refused
    with pytest.raises(UsageError, match=f"Bring the file {weights._FILE}.*{tmp_path}"):
        weights.find_weights("imagenet")


def test_network_that_swallows_packets_does_not_hang(tmp_path, monkeypatch):
    """A server that accepts and never answers is given up."""
    monkeypatch.setattr(weights, "_CACHE", tmp_path)
    monkeypatch.setattr(weights, "_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(weights, "_URL", f"http://127.0.0.1:{server.getsockname()[1]}/weights.h5")
        with pytest.raises(UsageError, match="does not answer"):
            weights.find_weights("imagenet")


def test_imagenet_weights_that_are_there_are_used(tmp_path, monkeypatch):
    """A file that was brought by hand, without a network."""
    monkeypatch.setattr(weights, "_CACHE", tmp_path)
    (tmp_path / weights._FILE).write_bytes(b"weights")
    assert weights.find_weights("imagenet")[0] == str(tmp_path / weights._FILE)
