"""How sure an accuracy is, and what TFMA found, in words."""

import pytest

from components.summary import accuracy_interval


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
    """Against published values; it holds for few images, too."""
    assert accuracy_interval(correct, images) == pytest.approx((low, high), abs=5e-5)


def test_no_mistake_is_not_certainty():
    """Ten of ten: the lower bound is well below 1, the upper one is 1."""
    low, high = accuracy_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=5e-5)
    assert high == pytest.approx(1)
