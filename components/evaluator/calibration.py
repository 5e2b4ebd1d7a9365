"""Measures on `test` what the calibration of a model is worth: probabilities, and images that are accepted."""

import numpy as np

from components.probabilities import count_conformal, scale_probabilities
from components.proportions import conformal_p, wilson_interval
from components.records.evaluation import Acceptance, CalibrationFigures, Figure
from components.records.predictions import Predictions
from serving.export.calibration import Calibration

BINS = 10  # of the expected calibration error and of the reliability diagram
_MOST_IMAGES = 100_000  # a resample of more images takes seconds
_RESAMPLES = 1000
_SEED = 0
_SMALLEST = np.finfo(np.float64).eps  # of a probability, as in scikit-learn's log_loss


def measure_calibration(predictions: Predictions, calibration: Calibration) -> CalibrationFigures | None:
    """Measures log loss and expected calibration error with the temperature and without it.

    The 95 % intervals are percentiles of 1,000 bootstrap resamples of the images (Efron and Tibshirani, 1993), with a
    fixed seed. Of more than 100,000 images, a sample of 100,000 is measured.

    Args:
        predictions: predictions of the test images with the temperature.
        calibration: calibration of the model.
    Returns:
        The figures; None if a probability is not finite.
    """
    rng = np.random.default_rng(_SEED)
    rows = np.arange(len(predictions))
    if len(rows) > _MOST_IMAGES:
        rows = np.sort(rng.choice(len(rows), _MOST_IMAGES, replace=False))
    scaled = predictions.candidate[rows]
    if not len(rows) or not np.isfinite(scaled).all():
        return None
    index = {name: position for position, name in enumerate(predictions.classes)}
    labels = np.array([index[predictions.label[row]] for row in rows])
    plain = scale_probabilities(scaled, 1 / calibration.temperature)
    measures = [_Measure(probabilities, labels) for probabilities in (plain, scaled)]
    resamples = [
        [figure for measure in measures for figure in measure.measure(rng_rows)]
        for rng_rows in (rng.integers(len(rows), size=len(rows)) for _ in range(_RESAMPLES))
    ]
    low, high = np.percentile(resamples, [2.5, 97.5], axis=0)
    values = [figure for measure in measures for figure in measure.measure(slice(None))]
    names = ("log_loss_before", "ece_before", "log_loss", "ece")
    figures = {
        name: Figure(value=float(value), interval=(float(one), float(other)))
        for name, value, one, other in zip(names, values, low, high, strict=True)
    }
    return CalibrationFigures(
        temperature=calibration.temperature, problem=calibration.temperature_problem, images=len(rows), **figures
    )


class _Measure:
    """Log loss and expected calibration error of probabilities, on any choice of the images."""

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray):
        """Computes what the figures are sums of.

        Args:
            probabilities: float32 [num_images, num_classes].
            labels: class indices, int64 [num_images].
        """
        given = probabilities.astype(np.float64)
        own = given[np.arange(len(labels)), labels] / given.sum(axis=1)
        self._losses = -np.log(np.clip(own, _SMALLEST, 1 - _SMALLEST))
        confidence = given.max(axis=1)
        self._bins = find_bins(confidence)
        self._gaps = confidence - (given.argmax(axis=1) == labels)

    def measure(self, rows: np.ndarray | slice) -> tuple[float, float]:
        """Returns log loss and expected calibration error."""
        return self._losses[rows].mean(), compute_ece(self._bins[rows], self._gaps[rows])


def find_bins(confidence: np.ndarray) -> np.ndarray:
    """Finds the bin of each highest probability, among 10 of equal width.

    Args:
        confidence: highest probabilities, float64 [num_images].
    Returns:
        Numbers of the bins, int64 [num_images].
    """
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def compute_ece(bins: np.ndarray, gaps: np.ndarray) -> float:
    """Computes the expected calibration error, 0 to 1 (Guo et al. 2017, equation 3).

    Args:
        bins: bin of each image's highest probability, from `find_bins`; without an image, the error is 0.
        gaps: highest probability minus 1 for a right prediction, minus 0 for a wrong one; float64 [num_images].
    """
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / max(1, len(gaps)))


def measure_acceptance(predictions: Predictions, calibration: Calibration) -> Acceptance | None:
    """Counts the test images that the model accepts; returns None if the coverage is off, or the answers are unknown.

    Args:
        predictions: predictions of the test images, one or more, with `accepted` as the model answers.
        calibration: calibration of the model.
    """
    if calibration.coverage is None or predictions.accepted is None:
        return None
    images, accepted = len(predictions), int(predictions.accepted.sum())
    p_value = None
    if calibration.threshold is not None:
        rank = count_conformal(calibration.images, calibration.coverage)
        p_value = conformal_p(accepted, images, rank, calibration.images)
    return Acceptance(
        coverage=calibration.coverage,
        score=calibration.score,
        threshold=calibration.threshold,
        problem=calibration.threshold_problem,
        images=images,
        accepted=accepted,
        interval=wilson_interval(accepted, images),
        p_value=p_value,
    )
