"""Finding the weights of the base."""

import hashlib
import pathlib

import pytest

from components.network import resnet
from pipeline.downloads import download, weights
from schema.errors import UsageError

HDF5 = b"\x89HDF\r\n\x1a\nand more"
NOWHERE = "http://127.0.0.1:9/weights.h5"  # the discard port: refused


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Path of the ImageNet weights in an empty Keras cache without network."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "CACHE", tmp_path)
    monkeypatch.setattr(weights, "_URL", NOWHERE)
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"


def test_random_needs_no_file():
    """The network's weights are random."""
    assert weights.find_weights("random", 32) == ("random", "random")


def test_file_is_found_with_its_digest_and_tried(tmp_path, monkeypatch):
    """Other contents under the same name must retrain; other weights are found out before the run."""
    tried = []
    monkeypatch.setattr(resnet, "check_weights", lambda *arguments: tried.append(arguments))
    file = tmp_path / "notop.h5"
    file.write_bytes(HDF5)
    assert weights.find_weights(str(file), 32) == (str(file), hashlib.sha256(HDF5).hexdigest())
    assert tried == [(str(file), 32)]


def test_missing_file_says_what_is_expected(tmp_path):
    """The three forms that the setting may have."""
    with pytest.raises(UsageError, match=r"no such file\. Expected 'imagenet', 'random' or the path"):
        weights.find_weights(str(tmp_path / "nothing.h5"), 32)


@pytest.mark.parametrize(
    ("contents", "reason"), [(b"<html>", r"not an HDF5 file\. Expected 'imagenet'"), (HDF5, r"notop\.h5")]
)
def test_file_that_holds_no_weights_is_refused_before_the_run(tmp_path, contents, reason):
    """A page saved instead of the file, a torn one: seconds lost, not a run."""
    (tmp_path / "notop.h5").write_bytes(contents)
    with pytest.raises(UsageError, match=reason):
        weights.find_weights(str(tmp_path / "notop.h5"), 32)


def test_imagenet_without_network_says_which_file_to_bring(cached):
    """The name of the file, its checksum and the folder."""
    with pytest.raises(UsageError, match=f"refused.*Bring the file {cached.name}.*MD5 4d473c.*{cached.parent}"):
        weights.find_weights("imagenet", 224)


def test_imagenet_weights_that_are_there_are_used(cached, monkeypatch):
    """A file that was brought by hand, without a network."""
    monkeypatch.setattr(weights, "_MD5", hashlib.md5(HDF5).hexdigest())
    cached.write_bytes(HDF5)
    assert weights.find_weights("imagenet", 224) == (str(cached), hashlib.sha256(HDF5).hexdigest())


def test_torn_imagenet_weights_are_fetched_again_and_replaced(cached, tmp_path, monkeypatch):
    """What a download left that was broken off."""
    (tmp_path / "whole.h5").write_bytes(HDF5)
    monkeypatch.setattr(weights, "_URL", pathlib.Path(tmp_path / "whole.h5").as_uri())
    monkeypatch.setattr(weights, "_MD5", hashlib.md5(HDF5).hexdigest())
    cached.write_bytes(HDF5[:-1])
    assert weights.find_weights("imagenet", 224)[0] == str(cached)
    assert cached.read_bytes() == HDF5


def test_torn_imagenet_weights_are_not_used_without_network(cached):
    """Half a file would train half a network; the message says which it is."""
    cached.write_bytes(HDF5)
    with pytest.raises(UsageError, match=f"{cached} is not the whole file"):
        weights.find_weights("imagenet", 224)
