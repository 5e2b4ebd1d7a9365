"""Calibration of a trained model on `val`: temperature, and a threshold for images of no known class."""

import math

import numpy as np
from absl import logging

from components.probabilities import count_conformal, describe_bound, scale_probabilities, take_logarithms
from components.trainer.scoring import Scored
from components.trainer.settings import Settings
from components.trainer.temperature import fit_temperature
from serving.export.calibration import DISTANCE, PROBABILITY, Calibration, scale_tolerance

# A probability differs by this much between batch sizes and machines, see `serving_validator.checks`.
_ROUNDING = 1e-5


def calibrate(val: Scored, coverage: float | None, distances: np.ndarray | None = None) -> Calibration:
    """Fits temperature and threshold to the predictions of the validation images.

    Args:
        val: probabilities and label indices of the validation images.
        coverage: share of the images of known classes to accept; None for no threshold.
        distances: scores of the validation images by `class_distance`, float32 [num_images], in any order; None to
            find a threshold for the largest probability.
    """
    temperature = fit_temperature(take_logarithms(val.probabilities), val.labels)
    threshold, problem = None, ""
    if coverage is not None and not np.isfinite(val.probabilities).all():
        problem = "the model's outputs on val are not finite"
    elif coverage is not None:
        scaled = scale_probabilities(val.probabilities, temperature.value)
        threshold, problem = find_threshold(scaled.max(axis=1, initial=0) if distances is None else distances, coverage)
    for what, reason in (("the temperature is 1", temperature.problem), ("all images are accepted", problem)):
        if reason:
            logging.warning("Trainer: %s: %s.", what, reason)
    if bound := describe_bound(temperature.value):
        logging.warning("Trainer: the temperature is %.3g%s.", temperature.value, bound)
    return Calibration(
        temperature=temperature.value,
        temperature_problem=temperature.problem,
        coverage=coverage,
        score=PROBABILITY if distances is None else DISTANCE,
        threshold=threshold,
        threshold_problem=problem,
        images=len(val.labels),
    )


def has_threshold(val: Scored, settings: Settings) -> bool:
    """Returns whether there is a coverage, and `val` has images enough for its threshold."""
    return settings.coverage is not None and len(val.labels) >= count_needed_images(settings.coverage)


def find_threshold(scores: np.ndarray, coverage: float) -> tuple[float | None, str]:
    """Finds the score from which on an image is accepted, by split-conformal prediction.

    Of n scores, the threshold is the one with the rank ceil((n + 1) * coverage) from the top. If a further image is
    exchangeable with those n, its score is not lower with a probability of at least `coverage` (Vovk et al., 2005;
    Papadopoulos et al., 2002). The validation images chose the epoch, too, so they are not quite exchangeable with
    later images: the Evaluator counts on `test`.

    Args:
        scores: score of each validation image, float32 [num_images]; higher for an image of a known class.
        coverage: share of images to accept, above 0 and below 1.
    Returns:
        The threshold and ""; or None and the reason for none, as a clause.
    """
    needed = count_needed_images(coverage)
    if len(scores) < needed:
        return None, f"val has {len(scores)} images, and a coverage of {coverage:g} needs {needed}"
    if not np.isfinite(scores).all():
        return None, "the scores of val are not finite"
    rank = count_conformal(len(scores), coverage)
    threshold = float(np.sort(scores)[len(scores) - rank])
    return threshold - _ROUNDING * scale_tolerance(threshold), ""


def count_needed_images(coverage: float) -> int:
    """Returns the least number of images with a threshold: 19 for 0.95."""
    images = max(1, math.floor(coverage / (1 - coverage)) - 1)
    while count_conformal(images, coverage) > images:
        images += 1
    return images
