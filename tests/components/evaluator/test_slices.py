"""Slices of the test images by day, brightness, size and orientation."""

import numpy as np
import pytest

from components.evaluator.answers import select
from components.evaluator.slices import slice_answers
from components.records.image_list import ImageProperties
from components.records.predictions import Predictions, no_baseline


def slice_images(brightness=(), sides=(), days=(), orientation=(), right=None, spans=()):
    """Slices images; returns the slicings by their property, and the names with numbers of images of each."""
    count = len(brightness or sides or days or orientation)
    names = [f"{i}" for i in range(count)]
    paths = [f"{days[i]}/a/{i}.jpg" if days else f"a/{i}.jpg" for i in range(count)]
    rows = np.eye(2, dtype=np.float32)[[0 if right is None or right[i] else 1 for i in range(count)]]
    predictions = Predictions(
        ["a", "b"], None, None, ["test"] * count, names, paths, ["a"] * count, rows, no_baseline(count)
    )
    lengths = np.array(sides or [8] * count, np.int32)
    levels = np.array(brightness or [99] * count, np.float32)
    turns = np.array(orientation or [1] * count, np.int8)
    properties = ImageProperties(names, lengths, lengths + 5, levels, turns)
    found = {s.by: s for s in slice_answers(select(predictions), list(spans), properties)}
    return found, {by: [(part.name, part.now.images) for part in s.slices] for by, s in found.items()}


def test_thirds_of_the_images_by_brightness_and_by_the_shorter_side():
    found, parts = slice_images(list(range(10, 100, 10)), list(range(100, 1000, 100)), right=[False] * 3 + [True] * 6)
    assert parts["brightness"] == [("up to 30", 3), ("above 30, up to 60", 3), ("above 60", 3)]
    assert parts["size"] == [("up to 300 px", 3), ("above 300 px, up to 600 px", 3), ("above 600 px", 3)]
    dark = found["brightness"].slices[0].now
    assert (dark.value, dark.interval) == (0.0, pytest.approx((0.0, 0.5615), abs=1e-4))


@pytest.mark.parametrize(
    ("sides", "parts"),
    [
        ([8] * 5, []),
        ([8, 8, 8, 8, 9], [("up to 8 px", 4), ("above 8 px", 1)]),
        ([1, 2], [("up to 1 px", 1), ("above 1 px", 1)]),
    ],
)
def test_equal_values_are_in_one_slice(sides, parts):
    found, names = slice_images(sides=sides)
    assert names["size"] == parts
    assert bool(found["size"].problem) == (not parts)


def test_brightness_is_rounded_as_its_bounds_are_written():
    """An image of level 30.4 is in the slice up to 30."""
    _, parts = slice_images([30.4, 30.0, 60.0, 60.0, 90.0, 90.0])
    assert parts["brightness"] == [("up to 30", 2), ("above 30, up to 60", 2), ("above 60", 2)]


def test_an_image_without_a_known_size_is_in_no_slice_and_days_need_date_folders():
    predictions = Predictions(["a"], None, None, ["test"], ["x"], ["a.jpg"], ["a"], np.ones((1, 1)), no_baseline(1))
    answers = select(predictions)
    empty = ImageProperties([], *(np.zeros(0, kind) for kind in (np.int32, np.int32, np.float32, np.int8)))
    for properties in (None, empty):
        assert [s.slices for s in slice_answers(answers, [], properties)] == [[], [], [], []]
        assert all(s.problem for s in slice_answers(answers, [], properties))


def test_days_are_those_of_the_data():
    days = ["2026-11-20", "2026-11-21", "2026-11-21"]
    _, parts = slice_images(days=days, spans=set(days))
    assert parts["day"] == [("2026-11-20", 1), ("2026-11-21", 2)]


def test_each_orientation_is_a_slice_if_there_are_several():
    found, parts = slice_images(orientation=[1, 1, 6, 8], right=[True, False, True, True])
    assert parts["orientation"] == [("1", 2), ("6", 1), ("8", 1)]
    assert found["orientation"].slices[0].now.value == 0.5
    upright, _ = slice_images(orientation=[1, 1])
    assert upright["orientation"].problem == "All test images have the same EXIF orientation: 1."
