"""Predicted classes of the candidate and of the live version, and their shares of right predictions.

Imports no TensorFlow.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from components.proportions import wilson_interval
from components.records.evaluation import EvaluationSummary
from components.records.predictions import Predictions
from schema.features import TEST


@dataclasses.dataclass(frozen=True)
class Share:
    """Share of right predictions.

    Attributes:
        right: number of right predictions.
        images: number of images.
    """

    right: int
    images: int

    @property
    def value(self) -> float | None:
        """Share of right predictions, 0 to 1; None without images."""
        return self.right / self.images if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the share after Wilson (1927), as the Evaluator computes it; None without images."""
        return wilson_interval(self.right, self.images) if self.images else None


@dataclasses.dataclass(frozen=True)
class Answers:
    """Predicted classes of the candidate and of the live version on one split.

    Attributes:
        classes: class names of the candidate.
        path, digest, label: path, digest and true class of each image.
        truth: index of the true class, int64 [num_images]; -1 if the candidate lacks the class.
        candidate: probabilities by the candidate, float32 [num_images, num_classes].
        answer: index of the most probable class, int64 [num_images].
        baseline_classes: class names of the live version; empty if it has predicted no image.
        baseline: probabilities by the live version, float32 [num_images, num_baseline_classes]; NaN if missing.
        baseline_right: True for an image that the live version has predicted right, bool [num_images].
        baseline_known: True for an image that the live version has predicted, bool [num_images].
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
    baseline_known: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """True for an image that the candidate has predicted right, bool [num_images]."""
        return self.answer == self.truth

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the most probable class, float32 [num_images]."""
        return self.candidate.max(axis=1, initial=0)

    @property
    def margin(self) -> np.ndarray:
        """Difference between the two highest probabilities, float32 [num_images]."""
        if not len(self.candidate):
            return np.zeros(0, np.float32)
        highest = np.sort(self.candidate, axis=1)[:, -2:]
        return highest[:, -1] - highest[:, 0]


def select(predictions: Predictions, split: str = TEST) -> Answers:
    """Selects the predictions of one split."""
    chosen = np.flatnonzero(np.array(predictions.split, object) == split)
    label = [predictions.label[i] for i in chosen]
    index = {name: position for position, name in enumerate(predictions.classes)}
    candidate = predictions.candidate[chosen]
    names = predictions.baseline_classes or []
    baseline = predictions.baseline[chosen].reshape(len(chosen), len(names))
    known = ~np.isnan(baseline).any(axis=1) & bool(names)
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
        baseline_right=known & (before == np.array(label, object)),
        baseline_known=known,
    )


def _argmax(rows: np.ndarray) -> np.ndarray:
    return rows.argmax(axis=1) if rows.shape[1] else np.zeros(len(rows), np.int64)


def measure_majority(evaluation: EvaluationSummary) -> tuple[str, Share] | None:
    """Returns the largest class of the test images and its share; None without images."""
    counts = {name: sum(row) for name, row in zip(evaluation.classes, evaluation.confusion_matrix, strict=True)}
    if not any(counts.values()):
        return None
    name = max(counts, key=lambda key: counts[key])
    return name, Share(counts[name], sum(counts.values()))


def measure_slices(answers: Answers, keys: Iterable[str]) -> dict[str, tuple[Share, Share]]:
    """Measures the candidate and the live version on slices of the images.

    Args:
        answers: predictions of all images.
        keys: name of each image's slice; "" for an image without a slice.
    Returns:
        Shares of the candidate and of the live version by name, sorted by name.
    """
    members: dict[str, list[int]] = collections.defaultdict(list)
    for index, key in enumerate(keys):
        if key:
            members[key].append(index)
    right = answers.right
    return {
        key: (
            Share(int(right[chosen].sum()), len(chosen)),
            Share(int(answers.baseline_right[chosen].sum()), int(answers.baseline_known[chosen].sum())),
        )
        for key, chosen in sorted(members.items())
    }


def list_days(paths: Sequence[str], spans: Sequence[str]) -> list[str]:
    """Returns the date folder of each image; "" for an image outside of date folders."""
    known = set(spans)
    return [next((part for part in path.split("/")[:-1] if part in known), "") for path in paths]
