"""Computes the figures of the page from the answers for each image: intervals, slices, calibration, mistakes."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from components.records.evaluation import EvaluationSummary
from pipeline.report.predictions import Predictions
from schema.features import TEST

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
BINS = 10  # of the reliability diagram


@dataclasses.dataclass(frozen=True)
class Share:
    """Share of right answers, 0 to 1, with its 95 % interval; None where there is no image."""

    right: int
    images: int

    @property
    def value(self) -> float | None:
        """The share itself."""
        return self.right / self.images if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval after Wilson (1927), as the Evaluator's."""
        return wilson_interval(self.right, self.images) if self.images else None


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers of the candidate and of the live version on one split.

    Attributes:
        classes: of the candidate.
        path, digest, label: of each image.
        truth: position of the true class, int64 [num_images]; -1 for a class that the candidate does not know.
        candidate: probabilities, float32 [num_images, num_classes].
        answer: most probable class, int64 [num_images].
        baseline_classes: of the live version; empty if it was not asked.
        baseline: its probabilities, float32 [num_images, its classes]; NaN where it was not asked.
        baseline_right: whether it was right, bool [num_images].
        baseline_asked: whether it was asked, bool [num_images].
    """

    classes: list[str]
    path: list[str]
    digest: list[str]
    label: list[str]
    truth: np.ndarray
    candidate: np.ndarray
    answer: np.ndarray
    baseline_classes: list[str]
    baseline: np.ndarray
    baseline_right: np.ndarray
    baseline_asked: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether the candidate was right, bool [num_images]."""
        return self.answer == self.truth

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the most probable class, float32 [num_images]."""
        return self.candidate.max(axis=1, initial=0)

    @property
    def margin(self) -> np.ndarray:
        """Distance between the two highest probabilities, float32 [num_images]."""
        if not len(self.candidate):
            return np.zeros(0, np.float32)
        highest = np.sort(self.candidate, axis=1)[:, -2:]
        return highest[:, -1] - highest[:, 0]


def select(predictions: Predictions, split: str = TEST) -> Answers:
    """Returns the answers on one split."""
    chosen = np.flatnonzero(np.array(predictions.split, object) == split)
    label = [predictions.label[i] for i in chosen]
    index = {name: position for position, name in enumerate(predictions.classes)}
    candidate = predictions.candidate[chosen]
    names = predictions.baseline_classes or []
    baseline = predictions.baseline[chosen].reshape(len(chosen), len(names))
    asked = ~np.isnan(baseline).any(axis=1) & bool(names)
    before = np.array([*names, ""], object)[_argmax(np.nan_to_num(baseline))]
    return Answers(
        classes=predictions.classes,
        path=[predictions.path[i] for i in chosen],
        digest=[predictions.digest[i] for i in chosen],
        label=label,
        truth=np.array([index.get(name, -1) for name in label], np.int64),
        candidate=candidate,
        answer=_argmax(candidate),
        baseline_classes=names,
        baseline=baseline,
        baseline_right=asked & (before == np.array(label, object)),
        baseline_asked=asked,
    )


def _argmax(rows: np.ndarray) -> np.ndarray:
    return rows.argmax(axis=1) if rows.shape[1] else np.zeros(len(rows), np.int64)


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share after Wilson (1927), without the time that importing SciPy takes.

    Args:
        right: number of right answers.
        images: number of answers, at least 1.
    """
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def count_matrix(answers: Answers) -> list[list[int]]:
    """Counts the images by true class (rows) and most probable class (columns)."""
    size = len(answers.classes)
    known = answers.truth >= 0
    cells = np.bincount(answers.truth[known] * size + answers.answer[known], minlength=size * size)
    return cells.reshape(size, size).tolist()


def measure_majority(evaluation: EvaluationSummary) -> tuple[str, Share] | None:
    """Returns the largest class of the test images, and the accuracy of naming it always; None without an image."""
    counts = {name: sum(row) for name, row in zip(evaluation.classes, evaluation.confusion_matrix, strict=True)}
    if not any(counts.values()):
        return None
    name = max(counts, key=lambda key: counts[key])
    return name, Share(counts[name], sum(counts.values()))


def measure_slices(answers: Answers, keys: Iterable[str]) -> dict[str, tuple[Share, Share]]:
    """Measures the candidate and the live version on slices of the images.

    Args:
        answers: on all images.
        keys: name of its slice for each image; "" for an image that is in none.
    Returns:
        By name, in its order: the share of the candidate, and of the live version where it was asked.
    """
    members: dict[str, list[int]] = collections.defaultdict(list)
    for index, key in enumerate(keys):
        if key:
            members[key].append(index)
    right = answers.right
    return {
        key: (
            Share(int(right[chosen].sum()), len(chosen)),
            Share(int(answers.baseline_right[chosen].sum()), int(answers.baseline_asked[chosen].sum())),
        )
        for key, chosen in sorted(members.items())
    }


def list_days(paths: Sequence[str], spans: Sequence[str]) -> list[str]:
    """Returns the date folder of each image; "" for one that is in none."""
    known = set(spans)
    return [next((part for part in path.split("/")[:-1] if part in known), "") for path in paths]


def measure_reliability(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Compares how sure the model is with how often it is right.

    Returns:
        By bin of the highest probability, of equal width: number of images, mean probability, share of right answers
        (both 0 in an empty bin). And the expected calibration error, 0 to 1 (Guo et al. 2017, equation 3).
    """
    confidence, right = answers.confidence.astype(np.float64), answers.right
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    total = np.maximum(counts, 1)
    mean = np.bincount(bins, confidence, BINS) / total
    share = np.bincount(bins, right, BINS) / total
    error = float((np.abs(mean - share) * counts).sum() / max(1, len(right)))
    return counts, mean, share, error


def find_confident_mistakes(answers: Answers, most: int) -> list[int]:
    """Returns the positions of wrong answers, the highest probability first."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:most].tolist()


def find_least_certain(answers: Answers, most: int) -> list[int]:
    """Returns the positions of the images whose two highest probabilities are nearest to each other."""
    return np.argsort(answers.margin, kind="stable")[:most].tolist()


def find_confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str], most: int) -> list[tuple[str, str, int]]:
    """Returns the most frequent mistakes: true class, answer, number of images."""
    cells = [
        (classes[row], classes[column], count)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:most]
