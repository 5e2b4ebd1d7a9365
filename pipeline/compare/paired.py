"""Compares the predictions of two runs on the test images that both have."""

import dataclasses

import numpy as np

from components.evaluator.answers import Answers, select
from components.proportions import two_sided_mcnemar_p
from components.records.comparison import PairedTest
from pipeline.compare.sides import Side
from schema.features import TEST


@dataclasses.dataclass(frozen=True)
class PairedAnswer:
    """Predictions of two models for one test image.

    Attributes:
        path: path of the image in B, relative to the data folder.
        digest: sha256 of the image's bytes, in hex.
        label: true class in B.
        before, now: predicted classes of A and B.
        before_probability, now_probability: probabilities of the predicted classes, 0 to 1.
        change: probability of the true class in B less that in A, -1 to 1; a class that a model lacks has 0.
    """

    path: str
    digest: str
    label: str
    before: str
    before_probability: float
    now: str
    now_probability: float
    change: float

    @property
    def was_right(self) -> bool:
        """True if A predicts the true class."""
        return self.before == self.label

    @property
    def is_right(self) -> bool:
        """True if B predicts the true class."""
        return self.now == self.label


def pair_answers(before: Side, now: Side) -> list[PairedAnswer] | None:
    """Pairs the predictions on the test images that both runs have, by the digest of the image.

    Both models are judged by the class in B.

    Returns:
        A pair for each image, in the order of B; None if the predictions of a run are missing.
    """
    if before.predictions is None or now.predictions is None:
        return None
    old, new = select(before.predictions, TEST), select(now.predictions, TEST)
    rows = {digest: row for row, digest in enumerate(old.digest)}
    return [
        _pair(old, rows[digest], new, row)
        for row, digest in enumerate(new.digest)
        if digest in rows and old.classes and new.classes
    ]


def _pair(old: Answers, old_row: int, new: Answers, new_row: int) -> PairedAnswer:
    label = new.label[new_row]
    before, now = int(old.answer[old_row]), int(new.answer[new_row])
    return PairedAnswer(
        path=new.path[new_row],
        digest=new.digest[new_row],
        label=label,
        before=old.classes[before],
        before_probability=float(old.candidate[old_row, before]),
        now=new.classes[now],
        now_probability=float(new.candidate[new_row, now]),
        change=_find_probability(new, new_row, label) - _find_probability(old, old_row, label),
    )


def _find_probability(answers: Answers, row: int, label: str) -> float:
    if label not in answers.classes:
        return 0.0
    return float(answers.candidate[row, answers.classes.index(label)])


def count_pairs(pairs: list[PairedAnswer]) -> PairedTest:
    """Counts the pairs, and tests whether one model is right more often than the other."""
    was = np.array([pair.was_right for pair in pairs], bool)
    is_now = np.array([pair.is_right for pair in pairs], bool)
    only_before, only_now = int((was & ~is_now).sum()), int((~was & is_now).sum())
    return PairedTest(
        images=len(pairs),
        both_right=int((was & is_now).sum()),
        both_wrong=int((~was & ~is_now).sum()),
        only_before=only_before,
        only_now=only_now,
        flipped=sum(pair.before != pair.now for pair in pairs),
        p_value=two_sided_mcnemar_p(only_before, only_now),
    )


def sort_flips(pairs: list[PairedAnswer]) -> list[PairedAnswer]:
    """Returns the pairs with different predicted classes, by the change of the true class's probability.

    Images that only one model predicts right come first, mended and spoilt ones in turn, so that a short list has both.
    """
    flips = sorted((pair for pair in pairs if pair.before != pair.now), key=lambda pair: -abs(pair.change))
    groups = (
        [pair for pair in flips if pair.was_right],
        [pair for pair in flips if pair.is_right],
        [pair for pair in flips if not pair.was_right and not pair.is_right],
    )
    spoilt, mended, others = groups
    shorter = min(len(spoilt), len(mended))
    turns = [pair for both in zip(spoilt, mended, strict=False) for pair in both]
    return [*turns, *spoilt[shorter:], *mended[shorter:], *others]
