"""Splits are drawn by the bytes of an image and a salt."""

import collections
import hashlib

import pytest

from components.example_gen import splits
from components.example_gen.splits import MAX_SALT, assign_split, choose_salt, count_splits

RATIOS = {"train": 0.7, "val": 0.15, "test": 0.15}


def make_digests(count, prefix=""):
    return [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(count)]


def find_gaps(images, salt, ratios=RATIOS):
    """The (label, split) pairs without an image."""
    filled = {(label, assign_split(digest, salt, ratios)) for label, digest in images}
    return {(label, split) for label, _ in images for split in ratios} - filled


@pytest.fixture
def small_data():
    """10 classes of 10 images."""
    return [(f"class {c}", digest) for c in range(10) for digest in make_digests(10, f"{c}/")]


def test_the_split_of_known_bytes_never_changes():
    """A version trained years ago must be retrained on the same splits, so the drawn ones are pinned.

    They were worked out by hand: the first 64 bits of sha256("0:<digest>") as a fraction of 2**64.
    """
    splits = [assign_split(digest, 0, RATIOS) for digest in make_digests(8)]
    assert splits == ["val", "test", "val", "val", "train", "train", "train", "test"]


def test_the_shares_of_the_splits_are_those_asked_for():
    """Over 20,000 images each share is right within a percentage point (more than 2.5 standard deviations)."""
    drawn = collections.Counter(assign_split(digest, 3, RATIOS) for digest in make_digests(20_000))
    assert {name: n / 20_000 for name, n in drawn.items()} == pytest.approx(RATIOS, abs=0.01)


def test_ratios_need_not_sum_to_one():
    """Shares of 14 : 3 : 3 deal like 0.7 : 0.15 : 0.15."""
    digests = make_digests(500)
    scaled = {"train": 14, "val": 3, "test": 3}
    assert [assign_split(d, 1, scaled) for d in digests] == [assign_split(d, 1, RATIOS) for d in digests]


def test_another_salt_deals_anew():
    """About half of the images change their split (0.465 of them, from the shares)."""
    digests = make_digests(2_000)
    moved = sum(assign_split(d, 0, RATIOS) != assign_split(d, 1, RATIOS) for d in digests)
    assert moved / 2_000 == pytest.approx(1 - (0.7**2 + 2 * 0.15**2), abs=0.04)


def test_the_chosen_salt_leaves_no_class_without_an_image_in_a_split(small_data):
    """10 images in each of 10 classes: every class is in all three splits."""
    assert find_gaps(small_data, choose_salt(small_data, RATIOS)) == set()


def find_deviations(images, ratios=RATIOS):
    """Returns the surplus of images by (label, split) with the chosen salt; negative for too few images."""
    salt = choose_salt(images, ratios)
    sizes = collections.Counter(label for label, _ in images)
    counts = collections.Counter((label, assign_split(digest, salt, ratios)) for label, digest in images)
    return {(label, split): counts[label, split] - n * ratios[split] for label, n in sizes.items() for split in ratios}


@pytest.mark.parametrize(
    ("sizes", "splits", "most"),
    [([60, 62], RATIOS, 1), ([12] * 10, ["val", "test"], 1.5), ([80] * 12, ["val", "test"], 4)],
    ids=["60 + 62", "10 of 12", "12 of 80"],
)
def test_the_chosen_salt_deals_near_the_ratios_in_every_class(sizes, splits, most):
    """A split of 15 % of 60 images has 9 of them, and not 4 as by chance."""
    images = [(f"class {c}", digest) for c, size in enumerate(sizes) for digest in make_digests(size, f"{c}/")]
    found = {abs(deviation) for (_, split), deviation in find_deviations(images).items() if split in splits}
    assert max(found) <= most


def test_no_other_salt_deals_nearer(small_data):
    """By the largest deviation in units of the target's square root, of a class or of all together."""
    chosen = choose_salt(small_data, RATIOS)

    def measure(salt):
        splits = [(label, assign_split(digest, salt, RATIOS)) for label, digest in small_data]
        counts = collections.Counter(splits) + collections.Counter(("all", split) for _, split in splits)
        sizes = dict.fromkeys((label for label, _ in small_data), 10) | {"all": 100}
        targets = {(label, split): size * RATIOS[split] for label, size in sizes.items() for split in RATIOS}
        return max(abs(counts[key] - target) / target**0.5 for key, target in targets.items())

    filled = [salt for salt in range(MAX_SALT + 1) if not find_gaps(small_data, salt)]
    assert measure(chosen) == pytest.approx(min(map(measure, filled)))


def test_the_chosen_salt_does_not_depend_on_the_order_of_the_images(small_data):
    """The same images give the same salt, from a list or a generator, in any order."""
    salt = choose_salt(small_data, RATIOS)
    assert choose_salt(reversed(small_data), RATIOS) == salt
    assert choose_salt((image for image in sorted(small_data, key=lambda i: i[1])), RATIOS) == salt


def test_where_no_salt_fills_every_split_one_with_the_fewest_gaps_is_chosen():
    """A class of 2 images cannot be in 3 splits; one gap is left."""
    images = [("rare", d) for d in make_digests(2, "rare")] + [("common", d) for d in make_digests(40)]
    salt = choose_salt(images, RATIOS)
    assert 0 <= salt <= MAX_SALT
    assert len(find_gaps(images, salt)) == 1


def test_the_work_is_bounded_for_large_data(monkeypatch):
    """Fewer salts are tried: a hash of each image costs a microsecond."""
    hashed = []
    monkeypatch.setattr(splits, "assign_split", lambda *arguments: (hashed.append(1), assign_split(*arguments))[1])
    images = [(label, d) for label in "ab" for d in make_digests(5_000, label)]
    monkeypatch.setattr(splits, "_MAX_HASHES", 30_000)
    assert choose_salt(images, RATIOS) in range(3)
    assert len(hashed) == 30_000


def test_no_image_at_all_gives_salt_0():
    """An ingest that left out all files still reports a salt."""
    assert choose_salt([], RATIOS) == 0


def test_splits_are_counted_by_class_and_empty_ones_are_there():
    """The order is that of the splits, then of the class names."""
    counts = count_splits([("test", "dog"), ("train", "dog"), ("train", "cat"), ("train", "dog")])
    assert counts == {"train": {"cat": 1, "dog": 2}, "val": {}, "test": {"dog": 1}}
    assert list(counts) == ["train", "val", "test"]
    assert list(counts["train"]) == ["cat", "dog"]
