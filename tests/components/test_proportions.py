"""Wilson's interval and McNemar's exact test, against published values and SciPy."""

import pytest
from scipy.stats import betabinom, binomtest

from components.proportions import (
    conformal_p,
    count_images,
    count_needed,
    mcnemar_p,
    two_sided_mcnemar_p,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3: the score interval of Wilson.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # R's prop.test(6, 52, correct = FALSE), as printed in R's bug report 2794.
        (6, 52, 0.05396969, 0.22971664),
    ],
)
def test_the_interval_is_that_of_wilson(right, images, low, high):
    assert wilson_interval(right, images) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("images", [1, 2, 7, 200, 5000])
def test_the_interval_is_scipys(images):
    """SciPy computes the same formula; the ends at 0 and 1 are exact here."""
    for right in {0, 1, images // 2, images}:
        expected = binomtest(right, images).proportion_ci(method="wilson")
        assert wilson_interval(right, images) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson_interval(0, images)[0] == 0
    assert wilson_interval(images, images)[1] == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("images", [1, 30, 200])
def test_no_smaller_number_is_needed(share, images):
    """By a count of all numbers."""
    enough = [right for right in range(images + 1) if wilson_interval(right, images)[0] > share]
    assert count_needed(share, images) == (enough[0] if enough else None)


@pytest.mark.parametrize(
    ("share", "images"), [(0.0, 1), (0.1, 1), (0.5, 4), (0.9, 35), (0.97, 125), (0.999, 3838), (1.0, None)]
)
def test_a_flawless_model_needs_so_many_images(share, images):
    """N / (n + 1.96²) > share; on one image fewer it does not pass."""
    assert count_images(share) == images
    if images:
        assert count_needed(share, images) == images
        assert images == 1 or count_needed(share, images - 1) is None


@pytest.mark.parametrize(
    ("lost", "won", "expected"),
    [
        # statsmodels' test_mcnemar_exact has these two-sided values, computed by Vassar College's page; here one-sided.
        (121, 59, 0.000004 / 2),
        (70, 59, 0.378688 / 2),
        (80, 59, 0.089452 / 2),
        (60, 30, 0.00206 / 2),
        (30, 10, 0.002221 / 2),
        (6, 0, 1 / 64),
        (5, 0, 1 / 32),
        (4, 0, 1 / 16),
        (0, 0, 1.0),
        (0, 5, 1.0),
    ],
)
def test_the_test_is_that_of_mcnemar(lost, won, expected):
    assert mcnemar_p(lost, won) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("lost", "won"), [(0, 1), (1, 1), (10, 4), (9, 4), (86, 150), (150, 86), (600, 400), (1, 3000)]
)
def test_the_test_is_the_binomial_one(lost, won):
    """SciPy's, one-sided: of the images that one model alone predicts right, the other version has more than half."""
    assert mcnemar_p(lost, won) == pytest.approx(binomtest(lost, lost + won, 0.5, "greater").pvalue, rel=1e-9)


@pytest.mark.parametrize(("one", "other"), [(0, 9), (3, 3), (7, 12), (5000, 5200)])
def test_two_sided_is_that_of_scipy(one, other):
    expected = binomtest(one, one + other).pvalue
    assert two_sided_mcnemar_p(one, other) == pytest.approx(expected, rel=1e-9)
    assert two_sided_mcnemar_p(other, one) == pytest.approx(expected, rel=1e-9)


def test_models_that_are_right_on_the_same_images_do_not_differ():
    assert two_sided_mcnemar_p(0, 0) == 1


@pytest.mark.parametrize(
    ("accepted", "images", "rank", "fitted"), [(17, 20, 19, 19), (150, 200, 191, 200), (0, 5, 2, 3)]
)
def test_the_p_value_of_a_coverage_is_that_of_scipys_beta_binomial_distribution(accepted, images, rank, fitted):
    """Given the threshold, the true coverage has a beta distribution."""
    expected = betabinom.cdf(accepted, images, rank, fitted + 1 - rank)
    assert conformal_p(accepted, images, rank, fitted) == pytest.approx(expected, rel=1e-9)
