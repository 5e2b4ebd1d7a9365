"""The counts of the paired test, and the order of the flipped images."""

import pytest

from pipeline.compare.paired import PairedAnswer, count_pairs, sort_flips
from pipeline.compare.wording import judge


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


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (1, 3, "Chance may explain the difference between the models: if both were equally good, one of them would "
         "have 3 or more of these 4 with a probability of 0.62 by McNemar's exact two-sided test."),
        (9, 1, "A is better, by more than chance explains: if both were equally good, one of them would have 9 or more "
         "of these 10 with a probability of 0.021 by McNemar's exact two-sided test."),
        (0, 0, "Both are right on the same images."),
    ],
)  # fmt: skip
def test_the_probability_is_said_in_words(one, other, told):
    """A run prints that of the one-sided test for the same numbers: 0.94 for the first."""
    pairs = [make_pair("cats", "dogs")] * one + [make_pair("dogs", "cats")] * other + [make_pair("cats", "cats")]
    assert judge(count_pairs(pairs)) == told
