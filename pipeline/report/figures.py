"""Computes the figures of the page from the predictions of each image: reliability, mistakes."""

from collections.abc import Sequence

import numpy as np

from components.evaluator.answers import Answers
from components.evaluator.calibration import BINS, compute_ece, find_bins


def measure_reliability(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Compares the highest probabilities with the shares of right predictions.

    Returns:
        Number of images, mean probability and share of right predictions for each of 10 bins of equal width by the
        highest probability; mean and share are 0 in an empty bin. Last, the expected calibration error, 0 to 1.
    """
    confidence, right = answers.confidence.astype(np.float64), answers.right
    bins = find_bins(confidence)
    counts = np.bincount(bins, minlength=BINS)
    total = np.maximum(counts, 1)
    mean = np.bincount(bins, confidence, BINS) / total
    share = np.bincount(bins, right, BINS) / total
    return counts, mean, share, compute_ece(bins, confidence - right)


def find_confident_mistakes(answers: Answers, most: int) -> list[int]:
    """Returns the indices of wrongly predicted images, the highest probability first."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:most].tolist()


def find_least_certain(answers: Answers, most: int) -> list[int]:
    """Returns the indices of the images with the smallest margins, the smallest first."""
    return np.argsort(answers.margin, kind="stable")[:most].tolist()


def find_confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str], most: int) -> list[tuple[str, str, int]]:
    """Returns the most frequent mistakes: true class, predicted class, number of images."""
    cells = [
        (classes[row], classes[column], count)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:most]
