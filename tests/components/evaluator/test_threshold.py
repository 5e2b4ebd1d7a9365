"""Lower bound of a candidate's accuracy."""

import pytest

from components.evaluator.threshold import DEFAULT_MIN_ACCURACY, Threshold, choose_threshold


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"cat": 10, "dog": 10}, 0.6),
        ({"cat": 30, "dog": 10, "bird": 20}, 0.6),
        (dict.fromkeys("abcdefghij", 7), 0.2),
        ({"cat": 80, "dog": 20}, 0.9),
    ],
)
def test_by_default_the_majority_must_be_beaten_by_a_tenth(counts, expected):
    """A model that predicts the most frequent class for each image is not blessed."""
    assert choose_threshold(DEFAULT_MIN_ACCURACY, counts).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [({"cat": 90, "dog": 10}, 0.95), ({"cat": 98, "dog": 2}, 0.99), ({"cat": 19, "dog": 1}, 0.975)],
)
def test_a_skewed_test_set_leaves_the_default_within_reach(counts, expected):
    """Above 80 % the bound is halfway from the majority's share to 1."""
    assert choose_threshold(DEFAULT_MIN_ACCURACY, counts).value == pytest.approx(expected)


def test_the_default_says_how_it_came_about():
    """The share, the class that has it, the margin, and the key that sets another."""
    reason = choose_threshold(DEFAULT_MIN_ACCURACY, {"cats": 60, "dogs": 62}).reason
    assert reason.startswith("0.508 of all images are of the class dogs, and 0.100 more is asked for; min_accuracy")


def test_a_bound_that_is_set_is_taken():
    """0 too, which blesses anything."""
    assert choose_threshold(0.0, {}) == Threshold(0.0, "min_accuracy")
