"""The exact McNemar test, and the order of the flipped images."""

import itertools

import pytest
from scipy.stats import binomtest

from pipeline.compare.paired import PairedAnswer, count_pairs, exact_mcnemar, sort_flips

# statsmodels, test_mcnemar_exact: the two discordant counts, and the p-value to 6 digits behind the point.
PUBLISHED = {(121, 59): 4e-06, (70, 59): 0.378688, (80, 59): 0.089452, (30, 60): 0.00206, (10, 30): 0.002221}


@pytest.mark.parametrize(("counts", "p_value"), PUBLISHED.items())
def test_p_values_are_those_that_statsmodels_tests_for(counts, p_value):
    assert exact_mcnemar(*counts) == pytest.approx(p_value, abs=5e-7)


def test_p_values_are_those_of_the_two_sided_binomial_test():
    """Also without discordant pairs, and for the numbers of a large test split."""
    assert exact_mcnemar(0, 0) == 1.0
    for counts in [*itertools.product(range(1, 12), repeat=2), (0, 9), (5000, 5200), (40_000, 41_000)]:
        assert exact_mcnemar(*counts) == pytest.approx(binomtest(counts[0], sum(counts)).pvalue, rel=1e-9)


def make_pair(before, now, change=0.0, label="cats"):
    return PairedAnswer("a.jpg", "d", label, before, 0.5, now, 0.5, change)


def test_each_pair_is_counted_once():
    pairs = [make_pair(*words.split()) for words in ("cats cats", "cats dogs", "dogs cats", "dogs dogs", "dogs birds")]
    test = count_pairs(pairs)
    assert (test.images, test.both_right, test.both_wrong, test.only_before, test.only_now) == (5, 1, 2, 1, 1)
    assert test.flipped == 3
    assert test.p_value == 1.0


def test_mended_and_spoilt_images_take_turns_and_those_that_stay_wrong_come_last():
    """Each kind by the change of the true class's probability: the first few show both."""
    wrong = make_pair("dogs", "birds", 0.9)
    spoilt = [make_pair("cats", "dogs", change) for change in (-0.1, -0.8, -0.3)]
    mended = [make_pair("dogs", "cats", 0.4)]
    ordered = sort_flips([wrong, make_pair("cats", "cats"), *spoilt, *mended])
    assert [pair.change for pair in ordered] == [-0.8, 0.4, -0.3, -0.1, 0.9]
