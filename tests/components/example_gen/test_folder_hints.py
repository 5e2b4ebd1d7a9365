"""The message for a folder without classes suggests a folder with classes."""

import pathlib

import pytest

from components.example_gen.folder_hints import suggest_below
from components.example_gen.layout import list_images
from schema.errors import DataError


def fill(*paths):
    for path in paths:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_bytes(b"abc")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of the test's own, that relative paths are relative to."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("named", "meant"), [("wrap", "wrap/photos"), ("wrap/", "wrap/photos"), ("above", "above/wrap/photos")]
)
def test_folder_around_the_data_names_the_data(named, meant):
    """An archive may unpack into several nested folders around the data."""
    fill(*(f"{meant}/{label}/1.jpg" for label in ("cats", "dogs")), f"{meant}/../__MACOSX/cats/1.jpg")
    assert suggest_below(named) == f"Did you mean {meant}, with the folders cats, dogs?"


def test_single_class_without_folders_is_no_folder_around_others():
    """No folder is suggested."""
    fill("photos/cats/1.jpg")
    assert suggest_below("photos") == ""


def test_link_to_itself_is_no_way_down(tmp_path):
    """The search ends."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "again").symlink_to(".")
    assert suggest_below("photos") == ""


@pytest.mark.parametrize(("named", "meant"), [("photos/cats", "photos"), ("photos/cats/", "photos"), (".", "..")])
def test_class_folder_names_the_folder_above(monkeypatch, named, meant):
    """The classes of the folder above are named."""
    fill("photos/cats/1.JPG", "photos/dogs/1.heic")
    if named == ".":
        monkeypatch.chdir("photos/cats")
    with pytest.raises(
        DataError, match=rf"found 1 files and no folder\. Did you mean {meant}, with the classes cats, "
    ):
        list_images(named)


def test_flat_folder_beside_other_things_names_no_folder():
    """A home folder, for example, is not suggested."""
    fill("images/1.jpg", "music/1.mp3", "photos/cats/1.jpg")
    with pytest.raises(DataError, match="Move the images into folders named after their class"):
        list_images("images")


def test_misspelt_folder_names_the_one_that_is_there():
    """The suggestion stands beside the missing folder."""
    fill("in/photos/cats/1.jpg", "in/other/1.jpg")
    with pytest.raises(DataError, match=r"in/fotos: no such folder\. Did you mean in/photos\?"):
        list_images("in/fotos")
    with pytest.raises(DataError, match=r"in/z: no such folder\. Name a folder"):
        list_images("in/z")
