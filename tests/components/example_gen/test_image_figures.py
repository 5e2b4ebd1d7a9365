"""Figures of the images that an ingest kept, for the page of a run."""

from components.example_gen.duplicates import Record
from components.example_gen.ingest import Ingest, list_images, measure_images
from components.example_gen.layout import Listing
from components.records.image_figures import ExampleImage, ImageFigures
from components.records.image_list import ListedImage


def make_record(number, label, span="", problem=""):
    return Record(
        f"{label}/{number}.jpg", label, span, "", 1000 * number, f"{99 - number:02d}", problem,
        width=10 * number, height=20, brightness=2.0 * number,
    )  # fmt: skip


def measure(records):
    return measure_images(Ingest(Listing(()), records, {}, 0))


def test_kept_images_are_counted_by_day_and_measured():
    """Files that were left out are not."""
    records = [make_record(n, "cat", "2026-11-23" if n < 3 else "2026-11-24") for n in range(1, 6)]
    figures = measure([*records, make_record(90, "dog", "2026-11-24", "broken")])
    assert figures.days == {"2026-11-23": {"cat": 2}, "2026-11-24": {"cat": 3}}
    assert (figures.width[0], figures.width[3], figures.width[-1]) == (10, 30, 50)
    assert figures.bytes[3] == 3000
    assert figures.brightness[-1] == 10
    assert list(figures.examples) == ["cat"]


def test_examples_are_those_with_the_lowest_digests():
    """No order of the files decides, and four are enough."""
    records = [make_record(n, "cat") for n in range(1, 10)]
    expected = [ExampleImage(path=f"cat/{n}.jpg", digest=f"{99 - n}") for n in (9, 8, 7, 6)]
    assert measure(records).examples == measure(records[::-1]).examples == {"cat": expected}


def test_no_image_has_no_figures_and_what_is_written_is_read(tmp_path):
    figures = measure([])
    assert (figures.width, figures.days, figures.examples) == ([], {}, {})
    figures.write(str(tmp_path))
    assert ImageFigures.read(str(tmp_path)) == figures


def test_the_list_of_the_images_has_split_size_and_brightness_of_each():
    records = [make_record(n, "cat") for n in range(1, 3)]
    splits = {"cat/1.jpg": "train", "cat/2.jpg": "test"}
    assert list_images(Ingest(Listing(()), records, splits, 0)) == [
        ListedImage("train", records[0].digest, "cat/1.jpg", "cat", 10, 20, 2.0),
        ListedImage("test", records[1].digest, "cat/2.jpg", "cat", 20, 20, 4.0),
    ]
