"""Figures of the kept images of an ingest: by day, sizes, brightness, and some examples of each class."""

from typing import Literal

from serving.storage.documents import Document, Fields

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class ExampleImage(Fields):
    """Image that stands for its class.

    Attributes:
        path: relative to the data folder.
        digest: hex sha256 of the bytes.
    """

    path: str
    digest: str


class ImageFigures(Document):
    """Figures of the images that an ingest kept; lists have one value for each of QUANTILES, or none without images.

    Attributes:
        days: number of images by date folder and class; empty without date folders.
        width, height: in pixels.
        bytes: sizes of the files.
        brightness: mean level of an image, 0 to 255.
        examples: of each class, those with the lowest digests: a choice that no order of the files decides.
    """

    FILE = "image_figures.json"

    format: Literal[1] = 1
    days: dict[str, dict[str, int]]
    width: list[float]
    height: list[float]
    bytes: list[float]
    brightness: list[float]
    examples: dict[str, list[ExampleImage]]
