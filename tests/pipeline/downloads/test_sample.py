"""Sample data."""

import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.downloads import download, sample
from pipeline.downloads.sample import write_cats_and_dogs, write_digits
from schema.errors import UsageError

MEMBERS = {
    "train/cats/cat.0.jpg": "tom",
    "train/dogs/dog.0.jpg": "rex",
    "validation/cats/cat.2000.jpg": "kit",
    "validation/dogs/dog.2000.jpg": "bob",
    "vectorize.py": "print()",
}


def test_digits_are_those_of_scikit_learn(digits):
    """1797 images in ten folders, pixel for pixel."""
    files = sorted(digits.glob("*/*.png"), key=lambda path: path.name)
    assert len(files) == 1797
    source = load_digits()
    for index in (0, 700, 1796):
        assert files[index].parent.name == str(source.target[index])
        pixels = np.asarray(Image.open(files[index]))
        assert np.array_equal(np.round(pixels / 255 * 16), source.images[index])


@pytest.mark.parametrize("write", [write_digits, write_cats_and_dogs])
def test_folder_that_holds_something_is_left_alone(tmp_path, write):
    """Nobody's photographs are mixed with digits; and nothing is downloaded first."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is there already"):
        write(str(tmp_path / "photos"))
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "mine.jpg"]


@pytest.mark.parametrize("write", [write_digits, write_cats_and_dogs])
def test_folder_that_cannot_be_made_is_said(tmp_path, write):
    """Below a file there are no folders; nothing is downloaded first."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/photos: cannot be written: Not a directory\. Name another folder"):
        write(str(tmp_path / "file" / "photos"))


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The source of the archive, with an empty Keras cache; the archive has one image of each split and class."""
    path = tmp_path / "source.zip"
    monkeypatch.setattr(download, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(sample, "_URL", path.as_uri())
    monkeypatch.setattr(sample, "_IMAGES", dict.fromkeys(sample._IMAGES, 1))
    return path


def write_archive(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            archive.writestr(f"cats_and_dogs_filtered/{name}", contents)


def list_files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_cats_and_dogs_come_as_class_folders(source, tmp_path):
    """Both splits together, for Graft splits by itself; the script in the archive stays there."""
    write_archive(source, MEMBERS)
    assert write_cats_and_dogs(str(tmp_path / "photos")) == 4
    assert list_files(tmp_path / "photos") == {
        "cats/cat.0.jpg": "tom",
        "cats/cat.2000.jpg": "kit",
        "dogs/dog.0.jpg": "rex",
        "dogs/dog.2000.jpg": "bob",
    }


def test_archive_is_fetched_once(source, tmp_path):
    """A second folder is made from Keras' cache, without a network."""
    write_archive(source, MEMBERS)
    write_cats_and_dogs(str(tmp_path / "photos"))
    source.unlink()
    assert write_cats_and_dogs(str(tmp_path / "more photos")) == 4
    with pytest.raises(UsageError, match="is there already"):
        write_cats_and_dogs(str(tmp_path / "photos"))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"../../evil.jpg": "evil"}, r"leads out of its folder: cats_and_dogs_filtered/\.\./\.\./evil\.jpg"),
        ({"train/cats/cat.1.jpg": "too many"}, "expected 1 images in train/cats, found 2"),
        ({"train/cats/cat.0.jpg": "x" * 1_000_001}, r"cat\.0\.jpg has 1000001 bytes"),
        ({"validation/cats/cat.2000.jpg": None}, "expected 1 images in validation/cats, found 0"),
        ({"validation/cats/cat.2000.jpg": None, "validation/cats/cat.0.jpg": "kit"}, "the same file name comes twice"),
    ],
)
def test_another_archive_is_refused_whole(source, tmp_path, members, reason):
    """The error names the file to delete; no file of the archive is written."""
    write_archive(source, {name: text for name, text in (MEMBERS | members).items() if text is not None})
    with pytest.raises(UsageError, match=f"cache/datasets/cats_and_dogs_filtered.zip: .*{reason}.*Delete it"):
        write_cats_and_dogs(str(tmp_path / "deep" / "photos"))
    assert list((tmp_path / "deep").iterdir()) == []
    assert not list(tmp_path.rglob("evil.jpg"))


def test_archive_with_a_changed_byte_is_refused(source, tmp_path):
    """By the CRC of the image; what was written before it goes away."""
    write_archive(source, MEMBERS)
    source.write_bytes(source.read_bytes().replace(b"bob", b"bib"))
    with pytest.raises(UsageError, match="Bad CRC-32"):
        write_cats_and_dogs(str(tmp_path / "photos"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "source.zip"]


def test_torn_archive_is_refused(source, tmp_path):
    """Brought by hand, or left by another program."""
    write_archive(source, MEMBERS)
    source.write_bytes(source.read_bytes()[:-50])
    with pytest.raises(UsageError, match=r"not a zip file.*Delete it and try again"):
        write_cats_and_dogs(str(tmp_path / "photos"))


def test_without_network_it_says_what_to_bring_where(source, tmp_path, monkeypatch):
    """The error also names sample data that needs no network."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sample, "_URL", "http://127.0.0.1:9/archive.zip")
    where = tmp_path / "cache" / "datasets" / "cats_and_dogs_filtered.zip"
    with pytest.raises(UsageError, match=rf"refused.*http://127.0.0.1:9/archive.zip by hand to {where}.*sample digits"):
        write_cats_and_dogs(str(tmp_path / "photos"))
    assert not list(tmp_path.iterdir())
