"""Figures of the images that an ingest kept: counts by day, sizes, brightness, and examples of each class."""

from typing import Literal

from serving.storage.documents import Document, Fields

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class ExampleImage(Fields):
    """Example image of a class.

    Attributes:
        path: path relative to the data folder.
        digest: hex sha256 of the file.
    """

    path: str
    digest: str


class ImageFigures(Document):
    """Figures of the images that an ingest kept.

    A list has one value for each of QUANTILES, and is empty without images.

    Attributes:
        days: number of images by date folder and class; empty without date folders.
        width, height: quantiles of width and height in pixels.
        bytes: quantiles of the file size in bytes.
        brightness: quantiles of the mean level of an image, 0 to 255.
        examples: images of each class with the lowest digests, a choice that does not depend on the order of files.
    """

    FILE = "image_figures.json"

    format: Literal[1] = 1
    days: dict[str, dict[str, int]]
    width: list[float]
    height: list[float]
    bytes: list[float]
    brightness: list[float]
    examples: dict[str, list[ExampleImage]]
