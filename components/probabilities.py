"""Probabilities of a model at another temperature, and the rank of a threshold among them."""

import math
from fractions import Fraction

import numpy as np

TEMPERATURES = (0.05, 20.0)  # bounds of the search for a temperature


def take_logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logarithms of probabilities, which are logits; 0 counts as the smallest number of float32.

    Args:
        probabilities: float32 [num_images, num_classes].
    Returns:
        float64 [num_images, num_classes]; NaN where a probability is NaN.
    """
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny).astype(np.float64))


def scale_probabilities(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divides the logits of probabilities by a temperature; its inverse undoes that.

    Args:
        probabilities: float32 [num_images, num_classes].
        temperature: number above 0.
    Returns:
        Probabilities float32 [num_images, num_classes].
    """
    if temperature == 1 or not probabilities.size:
        return probabilities
    logits = take_logarithms(probabilities) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def describe_bound(temperature: float) -> str:
    """Returns a clause, after a comma, for a temperature at an end of the search; "" for any other temperature."""
    if not any(math.isclose(temperature, bound, rel_tol=1e-4) for bound in TEMPERATURES):
        return ""
    return ", an end of the search from {:g} to {:g}".format(*TEMPERATURES)


def count_conformal(images: int, coverage: float) -> int:
    """Returns ceil((images + 1) * coverage), with the coverage as the decimal that the user wrote.

    The score of that rank from the top is the threshold of split-conformal prediction.
    """
    return math.ceil((images + 1) * Fraction(repr(coverage)))
