"""Ignored files and folders are counted by kind; each kind gets a phrase."""

import pytest

from components.example_gen.ignored import HIDDEN_FILE, SIDE_FILE, Ignored, describe


@pytest.mark.parametrize(
    "name",
    [
        *("photo.jpg.xmp", "photo.AAE", "photo.jpg.pp3", "photo.jpg.dop", "labels.CSV", "notes.txt", "photos.md5"),
        *("Icon\r", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "ZbThumbnail.info", "SYNOINDEX_MEDIA_INFO"),
        *("desktop.ini", "Shop.url", "README", "LICENSE"),
    ],
)
def test_side_files_are_passed_over(name):
    """Files that editors, systems and people leave beside photographs are not broken images."""
    ignored = Ignored()
    assert ignored.passes_over_file(name)
    assert list(ignored.counts) == [SIDE_FILE]


@pytest.mark.parametrize(
    "name", ["photo.jpg", "photo.heic", "scan.pdf", "photo", "Icon", "icon.jpg", "xmp", "movie.mp4"]
)
def test_other_files_claim_to_be_images(name):
    """The files are read, and quarantined by name if they cannot be decoded."""
    ignored = Ignored()
    assert not ignored.passes_over_file(name)
    assert ignored.counts == {}


def test_a_phrase_counts_a_kind_and_its_names():
    """The most frequent name first; one name needs no number of its own."""
    ignored = Ignored()
    for name in ("a.xmp", "b.XMP", "Thumbs.db", ".DS_Store", "._a.jpg", "._b.jpg"):
        ignored.passes_over_file(name)
    ignored.passes_over_folder("@eaDir")
    ignored.add_loose_file("a.jpg")
    ignored.add_loose_file("LISTING")
    assert describe(ignored.counts) == [
        "3 side files (2 .xmp, thumbs.db)",
        "3 hidden files (2 ._*, .DS_Store)",
        "1 folder that a computer made (@eaDir)",
        "2 files beside the class folders (.jpg, LISTING)",
    ]


def test_many_names_of_a_kind_are_summed_up():
    """In the phrase beyond five, and in the counts beyond a thousand: a report does not grow with the folder."""
    ignored = Ignored()
    for number in range(1500):
        ignored.passes_over_file(f".{number}")
    assert len(ignored.counts[HIDDEN_FILE]) == 1001
    [phrase] = describe(ignored.counts)
    assert phrase.startswith("1500 hidden files (500 others, ")
    assert phrase.endswith(", 996 others)")
