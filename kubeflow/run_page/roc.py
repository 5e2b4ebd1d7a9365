"""Computes the ROC curve of the test images, with a bounded number of points."""

import dataclasses

import numpy as np

from components.evaluator.answers import Answers

MOST_POINTS = 100


@dataclasses.dataclass(frozen=True)
class Roc:
    """ROC curve; both rates are 0 at the first point and 1 at the last.

    Attributes:
        thresholds: falling probabilities, float64 [num_points]; the first is above all probabilities.
        false_positives: rising rates of false positives, float64 [num_points].
        recall: rising rates of true positives, float64 [num_points].
    """

    thresholds: np.ndarray
    false_positives: np.ndarray
    recall: np.ndarray


def compute_roc(answers: Answers) -> Roc | None:
    """Computes the curve of the test images.

    For two classes, it is the curve of the second one. For more, it is the micro-average of one class against the
    rest: each pair of an image and a class is a decision of its own.

    Args:
        answers: predictions of the test images.
    Returns:
        At most 100 points; None without images of either kind, with a probability that is not finite, or with a class
        that the model lacks.
    """
    scores, truth = answers.candidate, answers.truth
    if len(answers.classes) < 2 or not len(truth) or truth.min() < 0 or not np.isfinite(scores).all():
        return None
    if len(answers.classes) == 2:
        return _thin(*_count(scores[:, 1], truth == 1))
    positive = np.zeros(scores.shape, bool)
    positive[np.arange(len(truth)), truth] = True
    return _thin(*_count(scores.ravel(), positive.ravel()))


def _count(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts false and true positives at each distinct score, the highest first.

    Args:
        scores: float32 [num_decisions].
        positive: bool [num_decisions].
    Returns:
        Scores, false positives and true positives, each [num_scores].
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of the decisions with one score
    true = np.cumsum(positive)[last]
    return scores[last].astype(np.float64), 1 + last - true, true


def _thin(scores: np.ndarray, false: np.ndarray, true: np.ndarray) -> Roc | None:
    """Adds the point (0, 0), and drops points on a straight line, then the closest ones.

    The threshold of (0, 0) is the highest score plus one, as in scikit-learn up to 1.2; later releases take infinity,
    which JSON lacks.
    """
    if not false[-1] or not true[-1]:
        return None
    scores, false, true = (
        np.concatenate([[first], rest]) for first, rest in ((scores[0] + 1, scores), (0, false), (0, true))
    )
    turns = np.logical_or(np.diff(false, 2), np.diff(true, 2))
    kept = np.flatnonzero(np.concatenate([[True], turns, [True]]))
    rates, recall = false[kept] / false[-1], true[kept] / true[-1]
    if len(kept) > MOST_POINTS:
        length = rates + recall  # along the curve, which only goes right and up
        places = np.searchsorted(length, np.linspace(0, 2, MOST_POINTS))
        places = np.unique(np.minimum(places, len(kept) - 1))
        kept, rates, recall = kept[places], rates[places], recall[places]
    return Roc(scores[kept], rates, recall)
