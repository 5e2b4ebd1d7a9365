"""A folder of labelled images is read as a list of files; nothing is opened."""

import errno
import os
import pathlib
import re
import socket

import pytest

from components.example_gen.layout import find_missing_splits, list_images
from schema.errors import DataError


def fill(data, *paths):
    """Makes files of three bytes, which layout never opens."""
    for path in paths:
        file = pathlib.Path(data) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"abc")


def list_paths(data, **window):
    return [f.path for f in list_images(str(data), **window).files]


@pytest.fixture
def spans(tmp_path):
    """A cat image on four days."""
    fill(tmp_path, *(f"2026-11-{day}/cat/1.jpg" for day in (20, 21, 23, 30)))
    return tmp_path


def test_class_folders_give_the_labels(tmp_path):
    """Files come in the order of their paths, with label, size and time; there is no span and no split."""
    fill(tmp_path, "dog/1.jpg", "cat/2.jpg", "cat/1.jpg")
    listing = list_images(str(tmp_path))
    assert [(f.path, f.label, f.span, f.split, f.size) for f in listing.files] == [
        ("cat/1.jpg", "cat", "", "", 3),
        ("cat/2.jpg", "cat", "", "", 3),
        ("dog/1.jpg", "dog", "", "", 3),
    ]
    assert listing.files[0].modified // 10**9 == (tmp_path / "cat/1.jpg").stat().st_mtime_ns // 10**9
    assert listing.labels == ("cat", "dog")
    assert (listing.window_end, listing.split_folders, listing.ignored) == ("", (), {})


def test_nested_folders_belong_to_the_class_above_them(tmp_path):
    """DATA/<class>/** at any depth, even where a nested folder is named like a class, a date or a split."""
    fill(tmp_path, "cat/a/b/1.jpg", "cat/dog/2.jpg", "cat/2026-11-23/3.jpg", "cat/train/4.jpg", "dog/5.jpg")
    assert {f.path: f.label for f in list_images(str(tmp_path)).files} == {
        "cat/2026-11-23/3.jpg": "cat",
        "cat/a/b/1.jpg": "cat",
        "cat/dog/2.jpg": "cat",
        "cat/train/4.jpg": "cat",
        "dog/5.jpg": "dog",
    }


def test_names_with_spaces_and_of_other_scripts_are_read_as_they_are(tmp_path):
    """Class and file names are Unicode, and no character is special."""
    fill(tmp_path, "golden retriever/my dog (1).jpg", "猫/写真 #1.jpg", "हाथी/50%.jpg")
    assert {f.label: f.path for f in list_images(str(tmp_path)).files} == {
        "golden retriever": "golden retriever/my dog (1).jpg",
        "猫": "猫/写真 #1.jpg",
        "हाथी": "हाथी/50%.jpg",
    }


def test_a_class_from_macos_and_from_linux_is_one(tmp_path):
    """Labels are NFC, whatever the folder's name is; paths are as on disk, for the files are read by them."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    fill(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg", "dog/3.jpg")
    listing = list_images(str(tmp_path))
    assert listing.labels == (composed, "dog")
    assert {f.path for f in listing.files} == {f"{composed}/1.jpg", f"{decomposed}/2.jpg", "dog/3.jpg"}


def test_splits_from_macos_and_from_linux_are_splits_of_the_same_classes(tmp_path):
    """Even where the two forms sort differently."""
    fill(tmp_path, "train/\u00e9/1.jpg", "train/f/1.jpg", "test/e\u0301/2.jpg", "test/f/2.jpg")
    fill(tmp_path, "holdout/e\u0301/1.jpg", "holdout/f/1.jpg")
    with pytest.raises(DataError, match="holdout is not one"):
        list_images(str(tmp_path))


def test_names_that_are_not_utf8_do_not_end_in_a_traceback(tmp_path):
    """Old archives unpack to Latin-1 names: they are listed, or refused with a DataError that says so."""
    fill(tmp_path, "cat/1.jpg", "dog/1.jpg")
    try:
        pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg")).write_bytes(b"abc")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    try:
        seen = " ".join(list_paths(tmp_path))
    except DataError as error:
        seen = str(error)
    assert "caf" in seen


def test_date_folders_are_spans(spans):
    """Without a window all of them are read, and the newest is its end."""
    fill(spans, "2026-11-20/dog/deep/1.jpg")
    listing = list_images(str(spans))
    assert [(f.span, f.label) for f in listing.files] == [
        ("2026-11-20", "cat"),
        ("2026-11-20", "dog"),
        ("2026-11-21", "cat"),
        ("2026-11-23", "cat"),
        ("2026-11-30", "cat"),
    ]
    assert listing.files[0].path == "2026-11-20/cat/1.jpg"
    assert listing.window_end == "2026-11-30"


def test_a_window_ends_at_the_day_asked_for(spans):
    """`window_end` is included and later days are not; no date folder needs to have that name."""
    assert list_paths(spans, window_end="2026-11-21") == ["2026-11-20/cat/1.jpg", "2026-11-21/cat/1.jpg"]
    assert list_paths(spans, window_end="2026-11-22") == ["2026-11-20/cat/1.jpg", "2026-11-21/cat/1.jpg"]
    assert list_images(str(spans), window_end="2026-11-21").window_end == "2026-11-21"


def test_a_window_of_days_counts_the_last_one(spans):
    """Three days up to the 23rd are the 21st, the 22nd and the 23rd; one day is that day."""
    assert list_paths(spans, window_end="2026-11-23", window_days=3) == [
        "2026-11-21/cat/1.jpg",
        "2026-11-23/cat/1.jpg",
    ]
    assert list_paths(spans, window_end="2026-11-23", window_days=1) == ["2026-11-23/cat/1.jpg"]


def test_a_window_of_days_ends_at_the_newest_by_default(spans):
    """Eight days up to the 30th begin on the 23rd; seven days do not reach it."""
    assert list_paths(spans, window_days=8) == ["2026-11-23/cat/1.jpg", "2026-11-30/cat/1.jpg"]
    assert list_paths(spans, window_days=7) == ["2026-11-30/cat/1.jpg"]


def test_a_window_reaches_over_the_end_of_a_month(tmp_path):
    """Days are counted on the calendar, not on the names."""
    fill(tmp_path, "2028-02-28/cat/1.jpg", "2028-02-29/cat/1.jpg", "2028-03-01/cat/1.jpg")
    assert list_paths(tmp_path, window_days=2) == ["2028-02-29/cat/1.jpg", "2028-03-01/cat/1.jpg"]


@pytest.mark.parametrize("window", [{"window_end": "2026-11-19"}, {"window_end": "2026-11-29", "window_days": 5}])
def test_a_window_without_a_date_folder_is_refused(spans, window):
    """The message names the window and the dates of the folders."""
    with pytest.raises(DataError, match=rf"to {window['window_end']}; there are 2026-11-20 to 2026-11-30"):
        list_images(str(spans), **window)


def test_a_window_is_refused_where_there_are_no_dates(tmp_path):
    """Reading all images instead would train on images outside the window."""
    fill(tmp_path, "cat/1.jpg", "dog/1.jpg")
    for window in ({"window_end": "2026-11-23"}, {"window_days": 7}):
        with pytest.raises(DataError, match="no folder is a date"):
            list_images(str(tmp_path), **window)


def test_dates_and_classes_side_by_side_are_refused(tmp_path):
    """The message names one of each."""
    fill(tmp_path, "2026-11-23/cat/1.jpg", "cat/1.jpg")
    with pytest.raises(DataError, match=r"2026-11-23 are dates and cat are not"):
        list_images(str(tmp_path))


def test_a_day_that_is_not_in_the_calendar_is_a_class(tmp_path):
    """2026-02-30 is no date, and neither is 2026-2-3."""
    fill(tmp_path, "2026-02-30/1.jpg", "2026-2-3/1.jpg")
    assert list_images(str(tmp_path)).labels == ("2026-02-30", "2026-2-3")


def test_ready_made_splits_are_kept(tmp_path):
    """The split is no class; the class folders are below."""
    fill(tmp_path, "train/cat/1.jpg", "val/cat/deep/2.jpg", "test/dog/3.jpg")
    listing = list_images(str(tmp_path))
    assert {f.path: (f.split, f.label) for f in listing.files} == {
        "test/dog/3.jpg": ("test", "dog"),
        "train/cat/1.jpg": ("train", "cat"),
        "val/cat/deep/2.jpg": ("val", "cat"),
    }
    assert set(listing.split_folders) == {"train", "val", "test"}
    assert find_missing_splits(listing.split_folders) == ()


def test_validation_is_another_name_for_val(tmp_path):
    """The split is called val; the path stays as it is on disk."""
    fill(tmp_path, "train/cat/1.jpg", "validation/cat/2.jpg", "test/cat/3.jpg")
    listing = list_images(str(tmp_path))
    assert {f.path: f.split for f in listing.files}["validation/cat/2.jpg"] == "val"
    assert set(listing.split_folders) == {"train", "val", "test"}


def test_val_beside_validation_is_refused(tmp_path):
    """Both folders are the same split."""
    fill(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg", "validation/cat/3.jpg")
    with pytest.raises(DataError, match="val, validation are the same split"):
        list_images(str(tmp_path))


@pytest.mark.parametrize(
    ("there", "missing"), [(("train", "val"), ("test",)), (("train", "test"), ("val",)), (("train",), ("val", "test"))]
)
def test_a_missing_split_is_to_be_drawn(tmp_path, there, missing):
    """The missing split is drawn from `train`."""
    fill(tmp_path, *(f"{split}/cat/1.jpg" for split in there))
    listing = list_images(str(tmp_path))
    assert set(listing.split_folders) == set(there)
    assert find_missing_splits(listing.split_folders) == missing


def test_without_ready_made_splits_none_is_missing(tmp_path):
    """Class folders are dealt as a whole."""
    fill(tmp_path, "cat/1.jpg")
    assert find_missing_splits(list_images(str(tmp_path)).split_folders) == ()


def test_classes_that_are_named_like_splits_are_classes(tmp_path):
    """Without sub-folders, `train` and `test` are class names."""
    fill(tmp_path, "train/1.jpg", "test/2.jpg")
    assert list_images(str(tmp_path)).labels == ("test", "train")


def test_a_missing_folder_is_refused(tmp_path):
    """The message names it."""
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        list_images(str(tmp_path / "nowhere"))


def test_an_empty_folder_is_refused(tmp_path):
    """The folder has no image."""
    with pytest.raises(DataError, match="found 0 files and no folder"):
        list_images(str(tmp_path))


def test_class_folders_without_an_image_are_refused(tmp_path):
    """Side files alone are no images."""
    fill(tmp_path, "cat/notes.txt")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="no image in 2 folders"):
        list_images(str(tmp_path))


def test_images_without_class_folders_are_refused(tmp_path):
    """The message counts them and says where they belong."""
    fill(tmp_path / "photos", "1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"found 2 files and no folder.*Move the images into folders"):
        list_images(str(tmp_path / "photos"))


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    """The file may be an archive; the message differs from that for a missing folder."""
    fill(tmp_path, "flowers.tgz")
    with pytest.raises(DataError, match=r"flowers\.tgz: expected a folder .* is a file\. .*unpack it"):
        list_images(str(tmp_path / "flowers.tgz"))


def test_hidden_and_side_files_are_ignored_and_counted(tmp_path):
    """Files of people and computers beside images are ignored; any other file counts as an image."""
    fill(tmp_path, "cat/1.jpg", "cat/scan.pdf", "cat/.DS_Store", "cat/Thumbs.db", "cat/labels.CSV", "cat/._1.jpg")
    listing = list_images(str(tmp_path))
    assert [f.path for f in listing.files] == ["cat/1.jpg", "cat/scan.pdf"]
    assert listing.ignored == {"hidden file": {".DS_Store": 1, "._*": 1}, "side file": {"thumbs.db": 1, ".csv": 1}}


def test_whatever_is_passed_over_is_counted(tmp_path):
    """Beside the classes, among them and below them; in each layout once."""
    fill(tmp_path, "2026-11-23/cat/1.jpg", "2026-11-23/cat/.thumbs/1.jpg", "2026-11-23/loose.jpg", "above.jpg")
    fill(tmp_path, "2026-11-20/cat/1.jpg", "2026-11-23/@eaDir/1.jpg", "2026-11-23/dog/notes.txt")
    (tmp_path / "2026-11-23/cat/back").symlink_to(tmp_path)
    listing = list_images(str(tmp_path), window_days=1)
    assert [f.path for f in listing.files] == ["2026-11-23/cat/1.jpg"]
    assert listing.ignored == {
        "file beside the class folders": {".jpg": 2},
        "hidden folder": {".thumbs": 1},
        "folder that a computer made": {"@eaDir": 1},
        "side file": {".txt": 1},
        "folder without an image": {"dog": 1},
        "date folder outside the window": {"2026-11-20": 1},
        "link that leads back": {"back": 1},
    }


def test_what_lies_beside_ready_made_splits_is_counted(tmp_path):
    """At the top, and within a split."""
    fill(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "train/loose.png", "list.csv", "loose.jpg")
    assert list_images(str(tmp_path)).ignored == {
        "side file": {".csv": 1},
        "file beside the class folders": {".jpg": 1, ".png": 1},
    }


def test_a_folder_that_vanishes_while_it_is_listed_is_said_to(tmp_path, monkeypatch):
    """The message does not advise to make the folder readable or to move it."""
    fill(tmp_path, "cat/1.jpg", "dog/1.jpg")
    scan = os.scandir

    def vanish(path):
        if os.fspath(path) == str(tmp_path / "dog"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanish)
    with pytest.raises(DataError, match=r"dog: .* vanished while the folder was read: run again when"):
        list_images(str(tmp_path))


def test_hidden_folders_are_not_read(tmp_path):
    """A hidden folder is no class, and its files are not read within a class."""
    fill(tmp_path, "cat/1.jpg", "cat/.thumbnails/1.jpg", "cat/a/.cache/b/2.jpg", ".git/objects/1")
    assert list_paths(tmp_path) == ["cat/1.jpg"]


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_that_computers_make_are_not_read(tmp_path, name):
    """Such a folder is no class, and its files are not read within a class."""
    fill(tmp_path, "cat/1.jpg", f"{name}/cat/._1.jpg", f"cat/{name}/1.jpg/thumb.jpg")
    listing = list_images(str(tmp_path))
    assert [f.path for f in listing.files] == ["cat/1.jpg"]
    assert listing.labels == ("cat",)


@pytest.mark.parametrize("folder", ["", "cat", "cat/deep"])
def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path, monkeypatch, folder):
    """Without an error its images would be missing silently. Simulated, because root may list all folders."""
    fill(tmp_path, "cat/deep/1.jpg", "dog/1.jpg")
    denied, scan = str(tmp_path / folder), os.scandir

    def refuse(path, listed):
        if os.fspath(path) == denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), denied)
        return listed(path)

    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: refuse(path, listdir))
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path, scan))
    with pytest.raises(DataError, match=f"{re.escape(denied)}: the folder cannot be listed: Permission denied"):
        list_images(str(tmp_path))


def test_files_beside_the_class_folders_are_passed_over(tmp_path):
    """A licence or a list of labels at the top belongs to no class."""
    fill(tmp_path, "cat/1.jpg", "LICENSE.txt", "labels.csv")
    assert list_paths(tmp_path) == ["cat/1.jpg"]


def test_a_class_folder_with_a_dot_in_its_name_is_a_class(tmp_path):
    """Only files are side files: a folder called `node.json` holds images all the same."""
    fill(tmp_path, "St. Bernard/1.jpg", "node.json/1.jpg")
    assert list_images(str(tmp_path)).labels == ("St. Bernard", "node.json")


def test_the_fingerprint_of_an_unchanged_folder_stays(tmp_path):
    """The fingerprint depends neither on the place of the folder nor on side files."""
    fill(tmp_path / "a", "cat/1.jpg", "dog/1.jpg")
    before = list_images(str(tmp_path / "a")).fingerprint
    fill(tmp_path / "a", "cat/notes.txt")
    (tmp_path / "a").rename(tmp_path / "b")
    assert list_images(str(tmp_path / "b")).fingerprint == before


def add(data):
    fill(data, "cat/3.jpg")


def remove(data):
    (data / "cat/1.jpg").unlink()


def rename(data):
    (data / "cat/1.jpg").rename(data / "cat/9.jpg")


def relabel(data):
    (data / "cat/1.jpg").rename(data / "dog/1.jpg")


def lengthen(data):
    status = (data / "cat/1.jpg").stat()
    (data / "cat/1.jpg").write_bytes(b"abcd")
    os.utime(data / "cat/1.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite(data, after=10**9):
    status = (data / "cat/1.jpg").stat()
    (data / "cat/1.jpg").write_bytes(b"xyz")
    os.utime(data / "cat/1.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + after))


@pytest.mark.parametrize("change", [add, remove, rename, relabel, lengthen, rewrite])
def test_the_fingerprint_changes_with_the_files(tmp_path, change):
    """Adding, removing, renaming or writing a file changes the fingerprint."""
    fill(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/2.jpg")
    before = list_images(str(tmp_path)).fingerprint
    change(tmp_path)
    assert list_images(str(tmp_path)).fingerprint != before


def test_the_fingerprint_changes_with_a_file_rewritten_within_the_same_second(tmp_path):
    """At the same size, a tenth of a second later: `modified` is in nanoseconds."""
    fill(tmp_path, "cat/1.jpg")
    os.utime(tmp_path / "cat/1.jpg", ns=(0, 1_790_000_000_100_000_000))
    before = list_images(str(tmp_path)).fingerprint
    rewrite(tmp_path, after=10**8)
    assert list_images(str(tmp_path)).fingerprint != before


def test_the_fingerprint_is_of_the_window_alone(spans):
    """A file in a day that is not read changes nothing."""
    before = list_images(str(spans), window_end="2026-11-21").fingerprint
    fill(spans, "2026-11-23/cat/2.jpg")
    assert list_images(str(spans), window_end="2026-11-21").fingerprint == before
    assert list_images(str(spans)).fingerprint != before


@pytest.mark.parametrize("third", ["holdout", None])
def test_splits_among_other_folders_or_without_train_are_refused(tmp_path, third):
    """Read as classes, they would train a model that tells test from val."""
    fill(tmp_path, "test/cat/1.jpg", "val/cat/1.jpg", *([f"{third}/cat/1.jpg", "train/cat/2.jpg"] if third else []))
    with pytest.raises(DataError, match="look like ready-made splits, and"):
        list_images(str(tmp_path))


def test_a_class_may_be_called_train(tmp_path):
    """It holds images, where a split holds folders."""
    fill(tmp_path, "train/1.jpg", "test/1.jpg")
    assert list_images(str(tmp_path)).labels == ("test", "train")


def test_capitals_and_valid_are_splits_too(tmp_path):
    """Many data sets use these names."""
    fill(tmp_path, "Train/cat/1.jpg", "Valid/cat/2.jpg", "TEST/cat/3.jpg")
    assert {f.path: f.split for f in list_images(str(tmp_path)).files} == {
        "TEST/cat/3.jpg": "test", "Train/cat/1.jpg": "train", "Valid/cat/2.jpg": "val",
    }  # fmt: skip


def test_one_split_beside_a_folder_like_it_is_refused(tmp_path):
    """With the same class folders inside, `holdout` is no class."""
    fill(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "holdout/cat/2.jpg", "holdout/dog/2.jpg")
    with pytest.raises(DataError, match="holdout is not one"):
        list_images(str(tmp_path))


@pytest.mark.parametrize("name", ["20261123", "2026_11_23", "2026.11.23"])
def test_dates_in_another_form_are_refused(tmp_path, name):
    """Read as classes, they would train a model that tells days apart."""
    fill(tmp_path, f"{name}/cat/1.jpg")
    with pytest.raises(DataError, match=r"look like dates\. Write them as 2026-11-23"):
        list_images(str(tmp_path))


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def make_loop(data):
    link(data / "cat/up", "..")
    return {"link that leads back": {"up": 1}}


def make_links_each_way(data):
    """Makes two links from one class to the other, and two back."""
    for number in "12":
        link(data / f"cat/l{number}", "../dog")
        link(data / f"dog/l{number}", "../cat")
    return {"link to what is read already": {"cat/l1": 1, "cat/l2": 1, "dog/l1": 1, "dog/l2": 1}}


def make_class_that_is_another(data):
    link(data / "kitten", "cat")
    return {"link to what is read already": {"kitten": 1}}


def make_class_of_all(data):
    link(data / "all", ".")
    return {"link that leads back": {"all": 1}}


def make_linked_files(data):
    """Makes links in the same class and in another, before and behind the real file in sorted order."""
    link(data / "cat/0.jpg", "1.jpg")
    link(data / "dog/9.jpg", "../cat/1.jpg")
    return {"link to what is read already": {"cat/0.jpg": 1, "dog/9.jpg": 1}}


def make_links_out(data):
    fill(data.parent, "elsewhere/2.jpg")
    link(data / "cat/more", data.parent / "elsewhere")
    link(data / "cat/two.jpg", data.parent / "elsewhere/2.jpg")
    link(data / "cat/gone.jpg", data.parent / "nowhere")
    names = {"cat/more": 1, "cat/two.jpg": 1, "cat/gone.jpg": 1}
    return {"link out of the data folder, for follow_links is off": names}


LINKS = [make_loop, make_links_each_way, make_class_that_is_another, make_class_of_all, make_linked_files]


@pytest.mark.parametrize("make", [*LINKS, make_links_out])
def test_links_add_nothing_to_what_is_read(tmp_path, make):
    """Each real folder and file is read once, by its real path; what is passed over is counted by name."""
    fill(tmp_path / "data", "cat/1.jpg", "cat/deep/2.jpg", "dog/3.jpg")
    ignored = make(tmp_path / "data")
    listing = list_images(str(tmp_path / "data"))
    assert [f.path for f in listing.files] == ["cat/1.jpg", "cat/deep/2.jpg", "dog/3.jpg"]
    assert listing.labels == ("cat", "dog")
    assert listing.ignored == ignored


def test_links_out_of_the_folder_are_followed_where_that_is_wanted(tmp_path):
    """Each real file is read once: a link to its folder wins over a link to the file."""
    fill(tmp_path / "data", "cat/1.jpg", "dog/3.jpg")
    make_links_out(tmp_path / "data")
    expected = ["cat/1.jpg", "cat/gone.jpg", "cat/more/2.jpg", "dog/3.jpg"]
    assert list_paths(tmp_path / "data", follow_links=True) == expected
    assert list_images(str(tmp_path / "data"), follow_links=True).ignored == {
        "link to what is read already": {"cat/two.jpg": 1}
    }


def test_a_folder_of_links_out_of_it_names_the_option(tmp_path):
    """No image is found, and the message counts the links that lead out."""
    fill(tmp_path, "pool/1.jpg")
    for name in ("cat/1.jpg", "dog/1.jpg"):
        link(tmp_path / "data" / name, tmp_path / "pool/1.jpg")
    with pytest.raises(DataError, match=r"no image in 2 folders\. 2 links lead out of it; --follow-links"):
        list_images(str(tmp_path / "data"))


def test_a_class_folder_may_be_a_link_to_anywhere(tmp_path):
    """So may the data folder be; links within the linked class stay within it, or go to the data folder."""
    fill(tmp_path, "disk/cats/1.jpg", "disk/cats/old/2.jpg", "disk/secret/4.jpg", "data/dog/3.jpg", "data/.pool/5.jpg")
    link(tmp_path / "data/cat", "../disk/cats")
    link(tmp_path / "data/cat/again", "old")
    link(tmp_path / "data/cat/secret", "../secret")
    link(tmp_path / "data/cat/5.jpg", tmp_path / "data/.pool/5.jpg")
    link(tmp_path / "named", "data")
    listing = list_images(str(tmp_path / "named"))
    assert [f.path for f in listing.files] == ["cat/1.jpg", "cat/5.jpg", "cat/old/2.jpg", "dog/3.jpg"]
    assert listing.ignored == {
        "hidden folder": {".pool": 1},
        "link to what is read already": {"cat/again": 1},
        "link out of the data folder, for follow_links is off": {"cat/secret": 1},
    }


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "dog"), ("cat/l", "dog/l"), ("train/cat", "test/cat"), ("train/cat/l", "test/cat/l")]
)
def test_links_from_two_classes_or_splits_to_one_folder_are_refused(tmp_path, one, other):
    """Neither link is the real path, and an image has one class and one split."""
    fill(tmp_path, "pool/1.jpg", "data/" + ("" if one[0] == "c" else "train/") + "bird/2.jpg")
    link(tmp_path / "data" / one, tmp_path / "pool")
    link(tmp_path / "data" / other, tmp_path / "pool")
    with pytest.raises(DataError, match=r"links lead from both to one folder, .*pool, and an image has one class"):
        list_images(str(tmp_path / "data"), follow_links=True)


def test_links_from_two_classes_to_one_file_contradict_each_other(tmp_path):
    """Both files are listed, so that the ingest leaves out both; two links of one class give one file."""
    fill(tmp_path, "cat/1.jpg", "dog/2.jpg", ".pool/3.jpg")
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/a.jpg"):
        link(tmp_path / name, tmp_path / ".pool/3.jpg")
    assert list_paths(tmp_path) == ["cat/1.jpg", "cat/a.jpg", "dog/2.jpg", "dog/a.jpg"]


@pytest.mark.parametrize(
    "make",
    [
        lambda data: link(data / "train/cat/l", "../../test/cat"),
        lambda data: link(data / "train/cat/l", "../../test"),
        lambda data: link(data / "train/cat/l.jpg", "../../test/cat/2.jpg"),
        lambda data: link(data / "train/mouse", "../test/dog"),
    ],
)
def test_a_link_between_splits_does_not_leak(tmp_path, make):
    """A test image stays in `test`, and is not trained on."""
    fill(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg")
    make(tmp_path)
    assert {f.path: f.split for f in list_images(str(tmp_path)).files} == {
        "test/cat/2.jpg": "test", "test/dog/2.jpg": "test", "train/cat/1.jpg": "train", "train/dog/1.jpg": "train",
    }  # fmt: skip


def test_a_split_that_is_a_link_to_another_is_empty(tmp_path):
    """The run then stops because `test` is empty."""
    fill(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg")
    link(tmp_path / "test", "train")
    listing = list_images(str(tmp_path))
    assert [f.path for f in listing.files] == ["train/cat/1.jpg", "train/dog/1.jpg"]
    assert listing.ignored == {"link to what is read already": {"test/cat": 1, "test/dog": 1}}


def test_a_day_that_is_a_link_to_another_is_read_once(tmp_path):
    """The real one wins, even if it is older; a link to a day outside the window is read."""
    fill(tmp_path, "2026-11-20/cat/1.jpg", "2026-11-21/cat/2.jpg")
    link(tmp_path / "2026-11-22", "2026-11-20")
    assert list_paths(tmp_path) == ["2026-11-20/cat/1.jpg", "2026-11-21/cat/2.jpg"]
    assert list_paths(tmp_path, window_days=1) == ["2026-11-22/cat/1.jpg"]


def test_an_ordinary_file_costs_one_stat_and_no_realpath(tmp_path, monkeypatch):
    """A million files are listed in seconds."""
    fill(tmp_path, *(f"cat/{number}.jpg" for number in range(50)))
    calls = []
    monkeypatch.setattr(os, "readlink", lambda path: calls.append(path))
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **options: calls.append(path) or lstat(path, **options))
    assert len(list_paths(tmp_path)) == 50
    assert not [path for path in calls if str(path).endswith(".jpg")]


def make_socket(path):
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has some hundred bytes at the most
    server.bind(path.name)
    os.chdir(here)
    return server


def test_what_is_no_regular_file_is_passed_over_by_name_and_never_opened(tmp_path, monkeypatch):
    """A named pipe, or a link to one, would wait for a writer for ever."""
    fill(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    link(tmp_path / "cat/link.jpg", "pipe.jpg")
    link(tmp_path / "dog/null.jpg", os.devnull)
    server = make_socket(tmp_path / "dog/s.jpg")
    listing = list_images(str(tmp_path), follow_links=True)
    server.close()
    assert [f.path for f in listing.files] == ["cat/1.jpg", "dog/1.jpg"]
    assert listing.ignored == {
        "named pipe, which is no file": {"cat/pipe.jpg": 1, "cat/link.jpg": 1},
        "socket, which is no file": {"dog/s.jpg": 1},
        "device, which is no file": {"dog/null.jpg": 1},
    }


def test_a_pipe_in_place_of_the_folder_is_refused(tmp_path):
    """The message says that the path is a pipe."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: expected a folder .* this is a named pipe"):
        list_images(str(tmp_path / "pipe"))


def test_a_link_to_nowhere_is_listed_for_the_quarantine(tmp_path):
    """The link does not stop the run."""
    fill(tmp_path, "cat/1.jpg")
    (tmp_path / "cat/2.jpg").symlink_to(tmp_path / "nowhere")
    assert list_paths(tmp_path) == ["cat/1.jpg", "cat/2.jpg"]


def test_a_link_within_a_class_to_nowhere_or_to_a_side_file_is_listed(tmp_path):
    """Neither target is read by its real path."""
    fill(tmp_path, "cat/1.jpg", "cat/.hidden.jpg")
    link(tmp_path / "cat/2.jpg", "nowhere.jpg")
    link(tmp_path / "cat/3.jpg", ".hidden.jpg")
    link(tmp_path / "cat/4.jpg", "4.jpg")
    assert list_paths(tmp_path) == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "cat/4.jpg"]
