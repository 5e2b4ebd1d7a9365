"""Names of files and folders are replaced by the files to read."""

import errno
import os

import pytest

from components.example_gen.user_paths import list_paths
from schema.errors import DataError, UsageError


def test_a_folder_among_names_stands_for_the_files_below_it(tmp_path):
    """They are sorted, without hidden and side files, as an ingest lists them; other names stay, in their order."""
    for path in ("b.jpg", "a/c.jpg", "Thumbs.db", ".hidden.jpg", "@eaDir/d.jpg", "notes.txt"):
        (tmp_path / "new" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / path).write_bytes(b"abc")
    names = ["z.jpg", str(tmp_path / "new"), "missing.jpg"]
    paths, _ = list_paths(names)
    assert paths == ["z.jpg", f"{tmp_path}/new/a/c.jpg", f"{tmp_path}/new/b.jpg", "missing.jpg"]


def test_what_is_left_out_of_folders_is_counted(tmp_path):
    """The counts of two folders are added, and described in the words of `./graft check`."""
    for path in ("a/1.jpg", "a/notes.txt", "a/.hidden.jpg", "b/2.jpg", "b/list.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"abc")
    _, ignored = list_paths([str(tmp_path / "a"), str(tmp_path / "b")])
    assert ignored == {"hidden file": {".jpg": 1}, "side file": {".txt": 2}}


def test_a_folder_without_an_image_is_refused(tmp_path):
    """With what it has instead."""
    with pytest.raises(DataError, match="no file in this folder"):
        list_paths([str(tmp_path)])
    (tmp_path / "notes.txt").write_text("abc")
    with pytest.raises(DataError, match=r"nothing but 1 side file \(.txt\) in this folder. Name images"):
        list_paths([str(tmp_path)])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    """A stand-in refuses, because root may list any folder."""

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(
        DataError, match=f"{tmp_path}: the folder cannot be listed: Permission denied. Make it readable"
    ):
        list_paths([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("-", "-: the standard input is not read. Write the image into a file"),
        ("https://example.org/cat.jpg", "https://example.org/cat.jpg: addresses of the web are not read. Download it"),
        ("HTTP://EXAMPLE.ORG/A.JPG", "addresses of the web"),
    ],
)
def test_what_is_no_file_of_this_machine_is_said(name, said, tmp_path, monkeypatch):
    """The error comes before a model is loaded; an existing file of that name is accepted."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        list_paths(["cat.jpg", name])
    assert said in str(caught.value)
    (tmp_path / "-").write_bytes(b"")
    assert list_paths(["-", "gs://bucket/a.jpg"]) == (["-", "gs://bucket/a.jpg"], {})
