"""The Evaluator's verdict: from the predictions of the test images to a blessing or to reasons against a push.

All decisions stand in `judge`. TFMA computes metrics and decides nothing.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from components.evaluator.calibration import measure_acceptance
from components.evaluator.comparison import compare, describe_uncompared, mark_right
from components.proportions import count_needed, wilson_interval
from components.records.evaluation import Acceptance, Baseline
from components.records.ingest import Majority
from components.records.predictions import Predictions
from schema.text import list_some
from serving.export.calibration import Calibration

_SHOWN = 5  # classes named in a reason
_UNCALIBRATED = Calibration()
LEVEL = 0.05  # p-value up to which a candidate is worse than the live version
# The best version was chosen for its accuracy on mostly the same images, so luck is part of that accuracy. At 0.05, up
# to 25 % of equally good models would be refused; at 0.001, both tests together refuse 5 %. See benchmarks/verdicts.py.
LEVEL_OF_BEST = 0.001
LEVEL_OF_COVERAGE = 0.025  # that of one end of a 95 % interval


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Bounds that the user has set, each from 0 to 1; None for a bound that is not set.

    Attributes:
        min_accuracy: least accuracy; replaces the rule that the accuracy is better than chance.
        max_accuracy_drop: largest drop of the accuracy below the live version's.
        min_recall: floor for the recall of each class.
    """

    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None
    min_recall: float | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Verdict on a candidate.

    Attributes:
        images: number of test images.
        right: number of test images that the candidate predicts right.
        needed: least accuracy for a push, 0 to 1.
        needed_reason: origin of `needed`.
        failures: reasons against a push, without a full stop; empty if the candidate is blessed.
        baseline: comparison with the live version; None if no version is live.
        best: comparison with the best kept version; None if that is the live version, or no version is live.
        acceptance: number of accepted test images; None without a coverage.
    """

    images: int
    right: int
    needed: float
    needed_reason: str
    failures: list[str]
    baseline: Baseline | None
    best: Baseline | None
    acceptance: Acceptance | None = None


def judge(
    predictions: Predictions,
    majority: Majority,
    bounds: Bounds = Bounds(),
    best: Predictions | None = None,
    problems: Mapping[int, str] | None = None,
    calibration: Calibration = _UNCALIBRATED,
) -> Verdict:
    """Judges a candidate by its predictions of the test images.

    The candidate is blessed if all of these hold:

    - The lower end of the 95 % interval of its accuracy lies above the majority's share; or, with `min_accuracy`, its
      accuracy is not below that bound.
    - The exact test of McNemar does not show that it is worse than the live version; and, with `max_accuracy_drop`,
      its accuracy is not further below the live version's than that.
    - The same test does not show that it is worse than the best kept version. Without that rule, each night could lose
      less than the test shows on these images.
    - With `min_recall`, the 95 % interval of the recall of no class lies below that floor.
    - With `coverage`, the 95 % interval of the share of accepted images does not lie below it, or so few are accepted
      by chance.

    Shares are compared with bounds as fractions: 0.96 - 0.94 is 0.02.

    Args:
        predictions: predictions of all test images, one or more, by the candidate and by the live version, if any.
        majority: largest class and its share.
        bounds: bounds that the user has set.
        best: the same images with the predictions of the best kept version instead of the live one's; None if that is
            the live version, or there is none.
        problems: reason why a version has no predictions, by its number.
        calibration: temperature and threshold of the candidate.
    """
    problems = problems or {}
    right = mark_right(predictions.candidate, predictions.classes, predictions.classes, predictions.label)
    needed, reason = _find_needed(majority, bounds, len(right))
    baseline, before = _compare(predictions, problems), _compare(best, problems) if best else None
    acceptance = measure_acceptance(predictions, calibration)
    failures = [
        *_check_accuracy(int(right.sum()), len(right), majority, bounds),
        *_check_worse(baseline, f"the live version{_name_classes(baseline, predictions)}", LEVEL),
        *_check_drop(baseline, _name_classes(baseline, predictions), bounds),
        *_check_worse(before, "the best kept version", LEVEL_OF_BEST),
        *_check_recall(right, predictions, bounds),
        *_check_acceptance(acceptance),
    ]
    return Verdict(len(right), int(right.sum()), needed, reason, failures, baseline, before, acceptance)


def _compare(predictions: Predictions, problems: Mapping[int, str]) -> Baseline | None:
    version = predictions.baseline_version
    if version is None:
        return None
    problem = problems.get(version)
    return describe_uncompared(version, [], problem) if problem else compare(version, predictions)


def _find_needed(majority: Majority, bounds: Bounds, images: int) -> tuple[float, str]:
    """Returns the least accuracy for a push, and its origin."""
    if bounds.min_accuracy is not None:
        return bounds.min_accuracy, "min_accuracy"
    needed, chance = count_needed(majority.share, images), _describe_chance(majority)
    if needed is None:
        return 1.0, f"{images} test images are too few for a 95 % interval above {chance}"
    return needed / images, f"{needed} of {images} test images, for a 95 % interval above {chance}"


def _describe_chance(majority: Majority) -> str:
    return f"{majority.share:.3f}, the share of the class {majority.label} among {majority.among} images"


def _check_accuracy(right: int, images: int, majority: Majority, bounds: Bounds) -> list[str]:
    found = f"test accuracy {right / images:.3f} ({right} of {images})"
    if bounds.min_accuracy is not None:
        if Fraction(right, images) >= _read_decimal(bounds.min_accuracy):
            return []
        return [f"{found} is below the {bounds.min_accuracy:g} that is needed (min_accuracy)"]
    low, high = wilson_interval(right, images)
    if low > majority.share:
        return []
    needed = count_needed(majority.share, images)
    way = f"{needed} right are needed" if needed else f"{images} images are too few for that"
    return [
        f"{found} is not shown to be better than chance: its 95 % interval, {low:.3f} to {high:.3f}, has to lie above "
        f"{_describe_chance(majority)}; {way}"
    ]


def _check_worse(other: Baseline | None, name: str, level: float) -> list[str]:
    if not other or other.p_value is None or other.p_value > level:
        return []
    return [
        f"it is worse than {name} ({other.version}) beyond chance: of {other.images} test images, {other.lost} are "
        f"right by that version alone and {other.won} by this model alone; p = {other.p_value:.2g} in McNemar's exact "
        f"one-sided test, and {level} or less is refused"
    ]


def _check_drop(live: Baseline | None, classes: str, bounds: Bounds) -> list[str]:
    if not live or live.lost is None or live.won is None or bounds.max_accuracy_drop is None:
        return []
    drop = Fraction(live.lost - live.won, live.images)
    if drop <= _read_decimal(bounds.max_accuracy_drop):
        return []
    return [
        f"test accuracy{classes} is {float(drop):.3f} below the live version's ({live.lost - live.won} of "
        f"{live.images} images); max_accuracy_drop allows {bounds.max_accuracy_drop:g}"
    ]


def _name_classes(other: Baseline | None, predictions: Predictions) -> str:
    """Returns " on the N classes that both know" if the class lists differ, else ""."""
    if not other or {*other.classes} == {*predictions.classes} == {*(predictions.baseline_classes or [])}:
        return ""
    return f" on the {len(other.classes)} classes that both know"


def _check_recall(right: np.ndarray, predictions: Predictions, bounds: Bounds) -> list[str]:
    """Checks the recall of each class by the upper end of its interval: one image of a rare class decides nothing."""
    if bounds.min_recall is None:
        return []
    labels, low = np.array(predictions.label, object), []
    for name in predictions.classes:
        of_class = right[labels == name]
        hits, images = int(of_class.sum()), len(of_class)
        if images and wilson_interval(hits, images)[1] < bounds.min_recall:
            interval = "{:.3f} to {:.3f}".format(*wilson_interval(hits, images))
            low.append(f"{name} {hits / images:.3f} ({hits} of {images}, 95 % interval {interval})")
    if not low:
        return []
    return [f"recall is below the {bounds.min_recall:g} of min_recall, beyond chance: {list_some(low, _SHOWN)}"]


def _check_acceptance(found: Acceptance | None) -> list[str]:
    """Checks the coverage by the interval, and by the exact test: a threshold from a small `val` is chance itself."""
    if not found or found.p_value is None or found.interval[1] >= found.coverage or found.p_value > LEVEL_OF_COVERAGE:
        return []
    low, high = found.interval
    return [
        f"it accepts {found.accepted / found.images:.3f} of the test images ({found.accepted} of {found.images}, 95 % "
        f"interval {low:.3f} to {high:.3f}) as images of a known class, which is below the coverage of "
        f"{found.coverage:g} beyond chance; p = {found.p_value:.2g} in the exact test, and {LEVEL_OF_COVERAGE} or less "
        "is refused"
    ]


def _read_decimal(value: float) -> Fraction:
    """Returns a setting as the decimal that the user wrote: 0.02 is 1/50, not the binary fraction nearest to it."""
    return Fraction(repr(value))
