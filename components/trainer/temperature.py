"""Temperature scaling after Guo et al. (2017): one number, fitted on `val`, that the logits are divided by."""

import dataclasses

import numpy as np

from components.probabilities import TEMPERATURES

FEWEST_IMAGES = 10  # with fewer, the temperature is chance
_MOST_STEPS = 50
_PRECISION = 1e-6
_LEAST_CURVATURE = 1e-12  # below it, a step of Newton's method is no number


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Temperature of a model.

    Attributes:
        value: number that the logits are divided by; 1 leaves the probabilities as they are.
        problem: reason why no temperature was fitted, as a clause; "" otherwise.
    """

    value: float = 1.0
    problem: str = ""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Temperature:
    """Fits the temperature to the labels by maximum likelihood.

    A model that is right on all images would get the lowest temperature, and probabilities of 1. So each label counts
    as (n + 1) / (n + 2) for its class, and as 1 / (n + 2) for the most probable other class, by the rule of succession;
    Platt (1999) does the same for two classes.

    Args:
        logits: float32 [num_images, num_classes]; the logarithms of probabilities are logits.
        labels: class indices, int64 [num_images].
    Returns:
        The temperature, 0.05 to 20; 1 for fewer than 10 images, for images of one class, and for logits that are not
        finite.
    """
    if len(labels) < FEWEST_IMAGES:
        return Temperature(problem=f"val has {len(labels)} images, fewer than the {FEWEST_IMAGES} that are needed")
    if len(np.unique(labels)) < 2:
        return Temperature(problem="val has images of one class only")
    if not np.isfinite(logits).all():
        return Temperature(problem="the model's outputs on val are not finite")
    values, rows = logits.astype(np.float64), np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    share = 1 / (len(labels) + 2)
    targets = (1 - share) * values[rows, labels] + share * others.max(axis=1)
    return Temperature(1 / _minimize(values, targets))


def _minimize(logits: np.ndarray, targets: np.ndarray) -> float:
    """Finds the factor of the logits with the lowest cross-entropy, by Newton's method between two bounds.

    The cross-entropy is convex in the factor: its slope is the mean of the expected logit less the target, and the
    slope of that is the variance of the logits.

    Args:
        logits: float64 [num_images, num_classes].
        targets: expected logit under the labels, float64 [num_images].
    """
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    factor = 1.0
    for _ in range(_MOST_STEPS):
        weights = np.exp(factor * (logits - logits.max(axis=1, keepdims=True)))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = (weights * logits).sum(axis=1)
        slope = (expected - targets).mean()
        curvature = (weights * np.square(logits - expected[:, np.newaxis])).sum(axis=1).mean()
        if slope == 0:
            return factor
        low, high = (low, factor) if slope > 0 else (factor, high)
        step = factor - slope / curvature if curvature > _LEAST_CURVATURE else low
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - factor) <= _PRECISION * factor:
            return following
        factor = following
    return factor
