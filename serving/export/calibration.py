"""Calibration of an exported model, as constants of its graph and as a file beside it."""

import os
from typing import ClassVar, Final, Literal

from serving.storage.documents import Document, DocumentError
from serving.storage.saved_model import EXTRA_ASSETS

PROBABILITY: Final = "probability"
DISTANCE: Final = "distance"


class Calibration(Document):
    """Temperature and threshold of a model, both fitted on `val`.

    Attributes:
        temperature: number that the logits are divided by; 1 leaves the probabilities as they are, 0.05 and 20 are the
            ends of the search.
        temperature_problem: reason why no temperature was fitted, as a clause; "" otherwise.
        coverage: share of the images of known classes to accept, 0.5 to below 1; None to accept all images.
        score: score of an image: PROBABILITY of the most probable class, or DISTANCE of the embedding to the classes,
            see `class_distance`.
        threshold: least score of an accepted image; None to accept all images.
        images: number of images in `val`.
        threshold_problem: reason why `coverage` has no threshold, as a clause; "" otherwise.
    """

    FILE: ClassVar[str] = "calibration.json"

    format: Literal[1] = 1
    temperature: float = 1.0
    temperature_problem: str = ""
    coverage: float | None = None
    score: Literal["probability", "distance"] = PROBABILITY
    threshold: float | None = None
    threshold_problem: str = ""
    images: int = 0


def scale_tolerance(threshold: float) -> float:
    """Returns the factor from a tolerance for probabilities to one for scores near a threshold.

    A score of hundreds, a squared distance, differed by 1.1e-5 of itself between batch sizes where a probability
    differed by 1.2e-5.
    """
    return max(1.0, 10 * abs(threshold))


def write_calibration(path: str, calibration: Calibration) -> None:
    """Writes the calibration beside a SavedModel, into `assets.extra/calibration.json`."""
    calibration.write(os.path.join(path, EXTRA_ASSETS))


def read_calibration(path: str) -> Calibration:
    """Returns the calibration of a SavedModel.

    It changes nothing for a model of Graft 0.2.0, which has none, and where the file is damaged.

    Raises:
        OSError: if a store does not answer.
    """
    try:
        return Calibration.find(os.path.join(path, EXTRA_ASSETS)) or Calibration()
    except DocumentError:
        return Calibration()
