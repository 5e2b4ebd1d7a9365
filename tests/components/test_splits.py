"""Splits are drawn by the bytes of an image and a salt."""

import collections
import hashlib

import pytest

from components.splits import MAX_SALT, choose_salt, count_splits, split_of

RATIOS = {"train": 0.7, "val": 0.15, "test": 0.15}


def make_digests(count, prefix=""):
    return [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(count)]


def find_gaps(images, salt, ratios=RATIOS):
    """The (label, split) pairs without an image."""
    filled = {(label, split_of(digest, salt, ratios)) for label, digest in images}
    return {(label, split) for label, _ in images for split in ratios} - filled


@pytest.fixture
def small_data():
    """10 classes of 10 images."""
    return [(f"class {c}", digest) for c in range(10) for digest in make_digests(10, f"{c}/")]


def test_the_split_of_known_bytes_never_changes():
    """A version trained years ago must be retrained on the same splits, so the drawn ones are pinned.

    They were worked out by hand: the first 64 bits of sha256("0:<digest>") as a fraction of 2**64.
    """
    splits = [split_of(digest, 0, RATIOS) for digest in make_digests(8)]
    assert splits == ["val", "test", "val", "val", "train", "train", "train", "test"]


def test_the_shares_of_the_splits_are_those_asked_for():
    """Over 20,000 images each share is right within a percentage point (more than 2.5 standard deviations)."""
    drawn = collections.Counter(split_of(digest, 3, RATIOS) for digest in make_digests(20_000))
    assert {name: n / 20_000 for name, n in drawn.items()} == pytest.approx(RATIOS, abs=0.01)


def test_ratios_need_not_sum_to_one():
    """Shares of 14 : 3 : 3 deal like 0.7 : 0.15 : 0.15."""
    digests = make_digests(500)
    scaled = {"train": 14, "val": 3, "test": 3}
    assert [split_of(d, 1, scaled) for d in digests] == [split_of(d, 1, RATIOS) for d in digests]


def test_another_salt_deals_anew():
    """About half of the images change their split (0.465 of them, from the shares)."""
    digests = make_digests(2_000)
    moved = sum(split_of(d, 0, RATIOS) != split_of(d, 1, RATIOS) for d in digests)
    assert moved / 2_000 == pytest.approx(1 - (0.7**2 + 2 * 0.15**2), abs=0.04)


def test_the_chosen_salt_leaves_no_class_without_an_image_in_a_split(small_data):
    """10 images in each of 10 classes: every class is in all three splits."""
    assert find_gaps(small_data, choose_salt(small_data, RATIOS)) == set()


def test_the_chosen_salt_is_the_smallest_that_will_do(small_data):
    """Every smaller salt leaves a gap; 0 is among them here, so that there is something to choose."""
    salt = choose_salt(small_data, RATIOS)
    assert salt > 0
    assert all(find_gaps(small_data, smaller) for smaller in range(salt))


def test_the_chosen_salt_does_not_depend_on_the_order_of_the_images(small_data):
    """The same images give the same salt, from a list or a generator, in any order."""
    salt = choose_salt(small_data, RATIOS)
    assert choose_salt(reversed(small_data), RATIOS) == salt
    assert choose_salt((image for image in sorted(small_data, key=lambda i: i[1])), RATIOS) == salt


def test_where_no_salt_fills_every_split_the_one_with_the_fewest_gaps_is_chosen():
    """A class of 2 images cannot be in 3 splits; the smallest salt with a single gap is taken."""
    images = [("rare", d) for d in make_digests(2, "rare")] + [("common", d) for d in make_digests(40)]
    salt = choose_salt(images, RATIOS)
    assert 0 <= salt <= MAX_SALT
    assert len(find_gaps(images, salt)) == 1
    assert all(len(find_gaps(images, smaller)) > 1 for smaller in range(salt))


def test_large_data_is_dealt_with_salt_0():
    """Where chance fills every split, nothing is tried but the first salt."""
    images = [("a", d) for d in make_digests(300, "a")] + [("b", d) for d in make_digests(300, "b")]
    assert choose_salt(images, RATIOS) == 0


def test_no_image_at_all_gives_salt_0():
    """Degenerate input: an ingest that left out everything still has a salt to report."""
    assert choose_salt([], RATIOS) == 0


def test_splits_are_counted_by_class_and_empty_ones_are_there():
    """The order is that of the splits, then of the class names."""
    counts = count_splits([("test", "dog"), ("train", "dog"), ("train", "cat"), ("train", "dog")])
    assert counts == {"train": {"cat": 1, "dog": 2}, "val": {}, "test": {"dog": 1}}
    assert list(counts) == ["train", "val", "test"]
    assert list(counts["train"]) == ["cat", "dog"]
