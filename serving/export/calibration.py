"""Calibration of an exported model, as constants of its graph and as a file beside it."""

import os
from typing import ClassVar, Literal

from serving.storage.documents import Document, DocumentError

_FOLDER = "assets.extra"


class Calibration(Document):
    """Temperature and threshold of a model, both fitted on `val`.

    Attributes:
        temperature: number that the logits are divided by; 1 leaves the probabilities as they are.
        temperature_problem: reason why no temperature was fitted, as a clause; "" otherwise.
        coverage: share of the images of known classes to accept, 0.5 to below 1; None to accept all images.
        threshold: least probability of the most probable class for an image to be accepted; None to accept all images.
        images: number of images in `val`.
        threshold_problem: reason why `coverage` has no threshold, as a clause; "" otherwise.
    """

    FILE: ClassVar[str] = "calibration.json"

    format: Literal[1] = 1
    temperature: float = 1.0
    temperature_problem: str = ""
    coverage: float | None = None
    threshold: float | None = None
    threshold_problem: str = ""
    images: int = 0


def write_calibration(path: str, calibration: Calibration) -> None:
    """Writes the calibration beside a SavedModel, into `assets.extra/calibration.json`."""
    calibration.write(os.path.join(path, _FOLDER))


def read_calibration(path: str) -> Calibration:
    """Returns the calibration of a SavedModel.

    It changes nothing for a model of Graft 0.2.0, which has none, and where the file is damaged.

    Raises:
        OSError: if a store does not answer.
    """
    try:
        return Calibration.find(os.path.join(path, _FOLDER)) or Calibration()
    except DocumentError:
        return Calibration()
