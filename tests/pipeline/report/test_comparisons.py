"""Sentences about the comparisons with other versions."""

import numpy as np
from made_up_evaluation import EVALUATION

from components.evaluator.comparison import describe_compared, describe_uncompared
from pipeline.report.comparisons import describe_comparisons

CLASSES = list(EVALUATION.classes)


def describe(**evaluation):
    return describe_comparisons(EVALUATION.model_copy(update=evaluation))


def compared(version, right, other, classes=CLASSES):
    return describe_compared(version, classes, np.array(right, bool), np.array(other, bool))


def test_without_a_live_version_that_is_said():
    assert describe() == ["No version was live to compare with."]


def test_both_versions_are_said_with_the_figures_of_the_test():
    """Discordant images and the p-value, of the live version first."""
    live, best = compared(7, [1, 1, 0, 0], [1, 0, 1, 1]), compared(5, [1, 1], [1, 1], CLASSES[:2])
    assert describe(baseline=live, best=best) == [
        "Compared with the live version, 7, on 4 test images: 2 are right by that version alone and 1 by this model "
        "alone; if both were equally good, that version would have 2 or more of these 3 with a probability of 0.5 "
        "by McNemar's exact one-sided test.",
        "Compared with the best kept version, 5, on 2 test images of the 2 classes of both: 0 are right by that "
        "version alone and 0 by this model alone.",
    ]


def test_of_a_version_that_alone_is_right_on_no_image_no_probability_is_said():
    """It would be 1, of having 0 or more."""
    assert describe(baseline=compared(7, [1, 1], [1, 0])) == [
        "Compared with the live version, 7, on 2 test images: 0 are right by that version alone and 1 by this model "
        "alone."
    ]


def test_a_version_that_was_not_compared_is_said_with_the_reason():
    live = describe_uncompared(7, [])
    best = describe_uncompared(5, [], "which cannot be used; the log says why")
    assert describe(baseline=live, best=best) == [
        "Not compared with the live version, 7, which has too few of its classes.",
        "Not compared with the best kept version, 5, which cannot be used; the log says why.",
    ]


def test_a_comparison_of_0_2_0_has_no_test():
    """Its summaries know accuracies alone."""
    live = compared(7, [1], [1]).model_copy(update={"lost": None, "won": None, "p_value": None})
    assert describe(baseline=live) == ["Compared with the live version, 7, on 1 test images."]
