"""Slices of the test images by day, brightness, size and EXIF orientation. Imports no TensorFlow."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from components.evaluator.answers import Answers, Share, list_days, measure_slices
from components.records.image_list import ImageProperties

_PARTS = 3  # slices by brightness and size: each has about a third of the test images


@dataclasses.dataclass(frozen=True)
class Slice:
    """Slice of the test images.

    Attributes:
        name: name of the slice, such as "up to 480".
        now: share of right predictions of the candidate.
        before: share of right predictions of the live version, of the images that it has predicted.
    """

    name: str
    now: Share
    before: Share


@dataclasses.dataclass(frozen=True)
class Slicing:
    """Division of the test images by one property.

    Attributes:
        by: name of the property, such as "day".
        meaning: sentence about the property and its bounds.
        slices: slices in the order of the property; empty if the property is unknown or does not differ.
        problem: sentence with the reason for no slices; "" if there are slices.
    """

    by: str
    meaning: str
    slices: list[Slice]
    problem: str = ""


def slice_answers(answers: Answers, spans: Sequence[str], properties: ImageProperties | None) -> list[Slicing]:
    """Divides the test images by day, by brightness, by size and by orientation.

    Args:
        answers: predictions of the test images.
        spans: date folders of the data.
        properties: size, brightness and orientation by digest; None if they are missing.
    """
    found = properties.select(answers.digest) if properties else None
    brightness = found.brightness if found else None
    sides = np.where(found.width > 0, np.minimum(found.width, found.height), np.nan) if found else None
    return [
        _slice_by_day(answers, spans),
        _slice_by_value(answers, "brightness", "Mean pixel value of an image, 0 (black) to 255 (white)", brightness),
        _slice_by_value(answers, "size", "Shorter side of an image, in pixels", sides, " px"),
        _slice_by_orientation(answers, found.orientation if found else None),
    ]


def _slice_by_day(answers: Answers, spans: Sequence[str]) -> Slicing:
    measured = measure_slices(answers, list_days(answers.path, spans))
    meaning = "Date folder of an image."
    if len(measured) < 2:
        only = f"All test images are of one day: {next(iter(measured), '')}."
        return Slicing("day", meaning, [], only if measured else "The images are not in date folders.")
    return Slicing("day", meaning, [Slice(name, now, before) for name, (now, before) in measured.items()])


def _slice_by_orientation(answers: Answers, orientation: np.ndarray | None) -> Slicing:
    meaning = "EXIF orientation of an image: 1 is upright, 3 upside down, 6 and 8 lie on a side."
    values = [] if orientation is None else orientation.tolist()
    known = sorted(set(values) - {0})
    if len(known) < 2:
        only = f"All test images have the same EXIF orientation: {known[0]}." if known else ""
        return Slicing("orientation", meaning, [], only or "The orientation of the test images is unknown.")
    measured = measure_slices(answers, [str(value) if value else "" for value in values])
    return Slicing("orientation", meaning, [Slice(name, now, before) for name, (now, before) in measured.items()])


def _slice_by_value(answers: Answers, by: str, meaning: str, values: np.ndarray | None, unit: str = "") -> Slicing:
    """Divides the images into thirds by a value, with NaN for an unknown one.

    Bounds are values of images, and equal values are never divided, so a slice may have more or less than a third.
    """
    if values is None or np.isnan(values).all():
        return Slicing(by, f"{meaning}.", [], f"The {by} of the test images is unknown.")
    values = np.rint(values)  # so that the names of the slices, which have whole numbers, hold
    known = values[~np.isnan(values)]
    shares = np.arange(1, _PARTS) / _PARTS
    bounds = np.unique(np.quantile(known, shares, method="inverted_cdf"))
    bounds = bounds[bounds < known.max()]
    if not len(bounds):
        return Slicing(by, f"{meaning}.", [], f"All test images have the same {by}: {known[0]:.0f}{unit}.")
    names = _name_parts([f"{bound:.0f}{unit}" for bound in bounds])
    parts = np.searchsorted(bounds, values)
    keys = ["" if np.isnan(value) else names[part] for part, value in zip(parts, values, strict=True)]
    measured = measure_slices(answers, keys)
    slices = [Slice(name, *measured[name]) for name in names]
    return Slicing(by, f"{meaning}; the bounds divide the test images into thirds, as far as values differ.", slices)


def _name_parts(edges: list[str]) -> list[str]:
    between = [f"above {low}, up to {high}" for low, high in itertools.pairwise(edges)]
    return [f"up to {edges[0]}", *between, f"above {edges[-1]}"]
