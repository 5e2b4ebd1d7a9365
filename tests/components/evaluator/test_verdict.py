"""The verdict on a candidate, by tables of right answers."""

import numpy as np
import pytest

from components.evaluator.verdict import Bounds, judge
from components.proportions import wilson_interval
from components.records.ingest import Majority
from components.records.predictions import Predictions

CLASSES = ["cat", "dog"]
EVEN = Majority("cat", 0.5, "all")
NONE = Bounds()


def make_probabilities(labels, right, classes):
    """Probabilities that predict an image right or as the next class, float32 [num_images, num_classes]."""
    index = [classes.index(label) if label in classes else 0 for label in labels]
    answer = [place if hit else (place + 1) % len(classes) for place, hit in zip(index, right, strict=True)]
    return np.eye(len(classes), dtype=np.float32)[answer]


def make_predictions(right, before=None, labels=None, classes=CLASSES, old_classes=CLASSES, version=7):
    """Predictions of test images, half of them cats; `right` and `before` tell which are predicted right."""
    count = len(right)
    labels = labels or [CLASSES[i % 2] for i in range(count)]
    known = before is not None
    return Predictions(
        classes=classes,
        baseline_version=version if known else None,
        baseline_classes=old_classes if known else None,
        split=["test"] * count,
        digest=["d"] * count,
        path=[f"{i}.jpg" for i in range(count)],
        label=labels,
        candidate=make_probabilities(labels, right, classes),
        baseline=make_probabilities(labels, before, old_classes) if known else np.zeros([count, 0], np.float32),
    )


def compare_counts(both, lost, won, neither):
    """Predictions with these numbers of images: right by both, by the other version alone, by the candidate alone."""
    right = [True] * both + [False] * lost + [True] * won + [False] * neither
    before = [True] * both + [True] * lost + [False] * won + [False] * neither
    return make_predictions(right, before)


def judge_share(right, images, bounds=NONE, majority=EVEN):
    return judge(make_predictions([True] * right + [False] * (images - right)), majority, bounds)


@pytest.mark.parametrize(
    ("right", "images", "share", "good"),
    [
        (59, 100, 0.5, False),  # 0.492 to 0.681
        (60, 100, 0.5, True),  # 0.502 to 0.691
        (110, 200, 0.5, False),  # 0.481 to 0.617
        (115, 200, 0.5, True),  # 0.506 to 0.641
        (4, 4, 0.5, True),
        (3, 3, 0.5, False),
        (125, 125, 0.97, True),
        (124, 124, 0.97, False),
        (0, 20, 0.0, False),
    ],
)
def test_better_than_chance_is_an_interval_above_the_majority(right, images, share, good):
    """Not the accuracy itself, nor a margin of a tenth."""
    verdict = judge_share(right, images, majority=Majority("cat", share, "all"))
    assert (not verdict.failures) == good
    assert (verdict.right, verdict.images) == (right, images)
    assert (wilson_interval(right, images)[0] > share) == good


def test_a_refusal_for_chance_has_the_figures():
    """The share, the interval, the class, and how many right answers would do."""
    verdict = judge_share(55, 100)
    assert verdict.failures == [
        "test accuracy 0.550 (55 of 100) is not shown to be better than chance: its 95 % interval, 0.452 to 0.644, has "
        "to lie above 0.500, the share of the class cat among all images; 60 right are needed"
    ]
    assert verdict.needed == 0.6
    assert verdict.needed_reason.startswith("60 of 100 test images, for a 95 % interval above 0.500, the share")


def test_too_few_images_are_said_as_the_reason():
    """The DataGate refuses such a run; an Evaluator that comes to it says so."""
    [failure] = judge_share(3, 3).failures
    assert failure.endswith("; 3 images are too few for that")
    assert judge_share(3, 3).needed == 1.0


@pytest.mark.parametrize(
    ("right", "images", "least", "good"),
    [
        (5, 10, 0.5, True),
        (4, 10, 0.5, False),
        (29, 50, 0.58, True),
        (7, 10, 0.7, True),
        (1, 3, 0.3333333, True),
        (0, 10, 0.0, True),
        (10, 10, 1.0, True),
        (9, 10, 1.0, False),
        (1, 3, 0.3333334, False),
    ],
)
def test_a_bound_of_the_users_replaces_the_interval(right, images, least, good):
    """Exact decimals: 0.58 * 50 is 28.999999999999996."""
    verdict = judge_share(right, images, Bounds(min_accuracy=least))
    assert (not verdict.failures) == good
    assert (verdict.needed, verdict.needed_reason) == (least, "min_accuracy")


def test_a_missed_bound_is_said_with_the_images():
    [failure] = judge_share(4, 10, Bounds(min_accuracy=0.5)).failures
    assert failure == "test accuracy 0.400 (4 of 10) is below the 0.5 that is needed (min_accuracy)"


@pytest.mark.parametrize(
    ("lost", "won", "good"),
    [
        (0, 0, True),
        (1, 0, True),
        (4, 0, True),
        (5, 0, False),
        (14, 6, True),
        (15, 5, False),
        (0, 20, True),
        (60, 43, True),
        (60, 42, False),
        (10, 3, False),
        (9, 3, True),
    ],
)
def test_worse_than_the_live_version_is_beyond_chance(lost, won, good):
    """A table of the binomial distribution gives equal models p = 0.031 at 5:0, 0.058 at 14:6 and 0.021 at 15:5."""
    verdict = judge(compare_counts(150, lost, won, 50 - lost - won if lost + won <= 50 else 0), EVEN)
    assert (not verdict.failures) == good


def test_one_flipped_image_refuses_nothing():
    """It did, as long as no drop was allowed."""
    assert judge(compare_counts(189, 1, 0, 10), EVEN).failures == []


def test_a_refusal_has_the_figures_of_the_test():
    """Images, discordant pairs, p, and the level."""
    verdict = judge(compare_counts(80, 10, 1, 9), EVEN)
    assert verdict.failures == [
        "it is worse than the live version (7) beyond chance: of 100 test images, 10 are right by that version alone "
        "and 1 by this model alone; p = 0.0059 in McNemar's exact one-sided test, and 0.05 or less is refused"
    ]
    assert (verdict.baseline.lost, verdict.baseline.won) == (10, 1)
    assert verdict.baseline.p_value == pytest.approx(12 / 2**11)
    assert (verdict.baseline.accuracy, verdict.baseline.candidate_accuracy) == (0.9, 0.81)


@pytest.mark.parametrize(
    ("both", "lost", "images", "allowed", "good"),
    [
        (94, 2, 100, 0.02, True),
        (94, 3, 100, 0.02, False),
        (7, 1, 10, 0.1, True),
        (9, 1, 10, 0.0, False),
        (10, 0, 10, 0.0, True),
        (56, 1, 100, 0.01, True),
    ],
)
def test_a_drop_is_compared_as_a_decimal(both, lost, images, allowed, good):
    """0.96 - 0.94 is a little more than 0.02 in floating point."""
    predictions = compare_counts(both, lost, 0, images - both - lost)
    assert (not judge(predictions, EVEN, Bounds(0.0, max_accuracy_drop=allowed)).failures) == good


def test_a_drop_too_far_is_said_besides_the_test():
    """Both bounds hold, and both are said."""
    first, second = judge(compare_counts(80, 10, 1, 9), EVEN, Bounds(max_accuracy_drop=0.02)).failures
    assert first.startswith("it is worse than the live version (7)")
    assert second == "test accuracy is 0.090 below the live version's (9 of 100 images); max_accuracy_drop allows 0.02"


def test_a_better_model_has_no_drop():
    assert judge(compare_counts(80, 0, 9, 11), EVEN, Bounds(max_accuracy_drop=0.0)).failures == []


@pytest.mark.parametrize(("lost", "good"), [(9, True), (10, False)])
def test_a_slow_slide_is_caught_by_the_best_kept_version(lost, good):
    """10:0 is 0.00098; the live version was only one image better."""
    now = compare_counts(150, 1, 0, 49)
    best = make_predictions([True] * 150 + [False] * 50, [True] * (150 + lost) + [False] * (50 - lost), version=5)
    verdict = judge(now, EVEN, best=best)
    assert (not verdict.failures) == good
    assert (verdict.baseline.version, verdict.best.version) == (7, 5)
    if not good:
        assert verdict.failures[0].startswith("it is worse than the best kept version (5) beyond chance: of 200 test")
        assert verdict.failures[0].endswith("and 0.001 or less is refused")


def test_a_version_without_predictions_is_named_with_the_reason():
    """Neither of them refuses the candidate."""
    now = make_predictions([True] * 9 + [False], [True] * 10, old_classes=CLASSES)
    problems = {7: "whose record cannot be read", 5: "which cannot be used; the log says why"}
    verdict = judge(now, EVEN, Bounds(0.0), make_predictions([True] * 10, [True] * 10, version=5), problems)
    assert verdict.failures == []
    assert [found.problem for found in (verdict.baseline, verdict.best)] == list(problems.values())
    assert not verdict.baseline.compared
    assert not verdict.best.compared


def test_an_added_class_counts_for_neither():
    """The candidate takes a cat for a bird, and chooses among cat and dog here; images of birds are not used."""
    predictions = make_predictions([True] * 3, [False, True, True], ["cat", "dog", "bird"], ["cat", "dog", "bird"])
    candidate = np.array([[0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [1, 0, 0]], np.float32)
    found = judge(Predictions(**vars(predictions) | {"candidate": candidate}), EVEN, Bounds(0.0)).baseline
    assert (found.classes, found.images) == (CLASSES, 2)
    assert (found.accuracy, found.candidate_accuracy, found.lost, found.won) == (0.5, 1.0, 0, 1)


def test_a_lost_class_counts_for_neither():
    """The live version is not punished for taking a cat for a wolf, which the candidate cannot."""
    predictions = make_predictions([True, False], [True, True], old_classes=["wolf", "dog", "cat"])
    baseline = np.array([[0.5, 0.1, 0.4], [0.6, 0.3, 0.1]], np.float32)
    verdict = judge(Predictions(**vars(predictions) | {"baseline": baseline}), EVEN, Bounds(0.0, 0.1))
    assert (verdict.baseline.accuracy, verdict.baseline.candidate_accuracy) == (1.0, 0.5)
    assert verdict.failures[0].startswith("test accuracy on the 2 classes that both know is 0.500 below the live")


@pytest.mark.parametrize("old", [["bird", "fish"], ["cat", "fish"]])
def test_without_two_common_classes_nothing_is_compared(old):
    """None or one in common; or two that no test image shows."""
    verdict = judge(make_predictions([True] * 8, [True] * 8, old_classes=old), EVEN)
    assert (verdict.failures, verdict.baseline.compared, verdict.baseline.p_value) == ([], False, None)
    unseen = make_predictions([True] * 4, [True] * 4, ["owl"] * 4, ["owl", *CLASSES])
    assert not judge(unseen, EVEN, Bounds(0.0)).baseline.compared


def test_an_image_without_a_prediction_of_the_other_version_is_not_compared():
    """It is an image of a class that the version lacks."""
    predictions = compare_counts(8, 2, 0, 0)
    predictions.baseline[:5] = np.nan
    found = judge(predictions, EVEN).baseline
    assert (found.images, found.lost) == (5, 2)


def test_probabilities_that_are_no_numbers_are_wrong():
    """NaN is the largest for numpy, so each image would be of the first class, and half of them right."""
    predictions = make_predictions([True] * 10)
    predictions.candidate[:] = np.nan
    assert judge(predictions, EVEN).right == 0


@pytest.mark.parametrize(
    ("hits", "images", "floor", "good"),
    [
        (3, 10, 0.6, True),
        (3, 10, 0.61, False),
        (0, 1, 0.5, True),
        (0, 4, 0.5, False),
        (0, 3, 0.5, True),
        (10, 10, 1.0, True),
        (9, 10, 1.0, False),
        (0, 10, 0.0, True),
    ],
)
def test_a_class_below_the_floor_beyond_chance_is_refused(hits, images, floor, good):
    """By the upper end of the interval, 0.603 for 3 of 10: one image of a rare class decides nothing."""
    labels = ["dog"] * images + ["cat"] * 90
    predictions = make_predictions([True] * hits + [False] * (images - hits) + [True] * 90, labels=labels)
    assert (not judge(predictions, EVEN, Bounds(min_recall=floor)).failures) == good


def test_a_class_below_the_floor_is_named_with_its_figures():
    """A class without a test image is not judged."""
    labels = ["dog"] * 10 + ["cat"] * 90
    predictions = make_predictions([True] * 3 + [False] * 7 + [True] * 90, labels=labels, classes=[*CLASSES, "owl"])
    assert judge(predictions, EVEN, Bounds(min_recall=0.7)).failures == [
        "recall is below the 0.7 of min_recall, beyond chance: dog 0.300 (3 of 10, 95 % interval 0.108 to 0.603)"
    ]


def test_test_images_of_one_class_show_nothing():
    """A constant answer is right for each of them."""
    predictions = make_predictions([True] * 500, labels=["cat"] * 500)
    [failure] = judge(predictions, Majority("cat", 1.0, "test")).failures
    assert failure.endswith("the share of the class cat among test images; 500 images are too few for that")
