"""Confidence interval of an accuracy, and texts about missed thresholds."""

import pytest

from components.evaluator.comparison import describe_compared, describe_uncompared
from components.evaluator.summary import describe_drop, find_accuracy_interval


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3: the score interval of Wilson.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_wilson(correct, images, low, high):
    """The intervals are published values, for few images, too."""
    assert find_accuracy_interval(correct, images) == pytest.approx((low, high), abs=5e-5)


def test_no_mistake_is_not_certainty():
    """Ten of ten: the lower bound is well below 1, the upper one is 1."""
    low, high = find_accuracy_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=5e-5)
    assert high == pytest.approx(1)


@pytest.mark.parametrize(("live", "candidate", "allowed"), [(0.8, 0.7, 0.1), (0.8, 0.8, 0.0), (0.7, 0.9, 0.0)])
def test_a_drop_as_far_as_it_is_allowed_is_none(live, candidate, allowed):
    """To the digit: 0.8 - 0.7 is a little more than 0.1 in floating point."""
    assert describe_drop(describe_compared(7, ["cat", "dog"], 10, live, candidate), allowed) == []


def test_a_drop_too_far_is_said_with_its_figures():
    """The text has the number of classes, the drop and the bound."""
    [sentence] = describe_drop(describe_compared(7, ["cat", "dog"], 10, 0.9, 0.7), 0.1)
    where, allowed = sentence.split("; ")
    assert where == "test accuracy on the 2 classes that both know is 0.200 below the live version's"
    assert allowed == "max_accuracy_drop allows 0.100"


def test_where_nothing_was_compared_nothing_dropped():
    """Without common classes the drop is 0."""
    assert describe_drop(describe_uncompared(7, []), 0.0) == []
