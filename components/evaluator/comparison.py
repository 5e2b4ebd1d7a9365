"""Comparison of the candidate with another version on the same test images, on the classes of both."""

import numpy as np

from components.proportions import mcnemar_p
from components.records.evaluation import Baseline
from components.records.predictions import Predictions


def compare(version: int, predictions: Predictions) -> Baseline:
    """Compares the candidate with the version in `predictions`, by the exact test of McNemar.

    Each model chooses among the classes of both only, so that its other classes do not lower its accuracy.

    Args:
        version: number of that version.
        predictions: predictions of the test images by both models.
    Returns:
        Accuracies and p-value on the test images of the classes of both. With fewer than two such classes, or without
        a test image of them, the result says that the models were not compared.
    """
    other = predictions.baseline_classes or []
    common = [name for name in predictions.classes if name in other]
    rows = np.flatnonzero(predictions.has_baseline() & np.isin(predictions.label, common))
    if len(common) < 2 or not len(rows):
        return describe_uncompared(version, common)
    labels = [predictions.label[row] for row in rows]
    candidate = mark_right(predictions.candidate[rows], predictions.classes, common, labels)
    baseline = mark_right(predictions.baseline[rows], other, common, labels)
    return describe_compared(version, common, candidate, baseline)


def describe_compared(version: int, classes: list[str], candidate: np.ndarray, other: np.ndarray) -> Baseline:
    """Builds the comparison of two models.

    Args:
        version: number of the other version.
        classes: classes of both models.
        candidate: True for an image that the candidate predicts right, bool [num_images], one image or more.
        other: the same for the other version.
    """
    lost, won = int((other & ~candidate).sum()), int((candidate & ~other).sum())
    return Baseline(
        version=version,
        compared=True,
        classes=classes,
        images=len(candidate),
        accuracy=float(other.mean()),
        candidate_accuracy=float(candidate.mean()),
        lost=lost,
        won=won,
        p_value=mcnemar_p(lost, won),
    )


def describe_uncompared(version: int, classes: list[str], problem: str = "") -> Baseline:
    """Builds the result for a version that was not compared with the candidate.

    Args:
        version: number of the version.
        classes: classes of both models.
        problem: reason, as a clause that follows the name of the version; "" for too few classes.
    """
    return Baseline(
        version=version,
        compared=False,
        classes=classes,
        images=0,
        accuracy=None,
        candidate_accuracy=None,
        problem=problem,
    )


def mark_right(probabilities: np.ndarray, order: list[str], classes: list[str], labels: list[str]) -> np.ndarray:
    """Marks the images whose most probable class is their true class.

    Args:
        probabilities: float32 [num_images, num_outputs]. NaN is no probability: a row with NaN is wrong.
        order: class names of the outputs.
        classes: classes to choose from, one or more of `order`.
        labels: true class of each image.
    Returns:
        bool [num_images].
    """
    chosen = probabilities[:, [order.index(name) for name in classes]]
    names = np.array(classes, object)[chosen.argmax(axis=1)]
    return (names == np.array(labels, object)) & ~np.isnan(chosen).any(axis=1)
