"""Splits images by a hash of their bytes: the same bytes always fall in the same split."""

import collections
import hashlib
from collections.abc import Iterable, Mapping

from schema.features import SPLITS

MAX_SALT = 999
# Where every salt must be tried, the data is small; this bounds the work where it is not.
_MAX_HASHES = 2_000_000
_ALL = ""  # no class is called so


def split_of(digest: str, salt: int, ratios: Mapping[str, float]) -> str:
    """The split of an image, independent of its path and class.

    Args:
        digest: hex sha256 of the bytes.
        salt: another salt deals the images anew.
        ratios: split name to its share; any positive numbers.
    Returns:
        One of the names.
    """
    position = int.from_bytes(hashlib.sha256(f"{salt}:{digest}".encode()).digest()[:8], "big") / 2**64
    position *= sum(ratios.values())
    bound = 0.0
    for name, ratio in ratios.items():
        bound += ratio
        if position < bound:
            return name
    return list(ratios)[-1]


def choose_salt(images: Iterable[tuple[str, str]], ratios: Mapping[str, float]) -> int:
    """Chooses the salt that deals the images closest to the ratios.

    Chance alone deals 4 of 60 images to a split of 15 %, or 15: a figure measured on such a split says little. So 1,000
    salts are tried, fewer above 2,000 images, where chance deviates less. First counts how few classes are without an
    image in a split; then the largest deviation from a target, of a class in a split or of a whole split, in units of
    the target's square root; then the sum of their squares.

    Args:
        images: (label, digest) of each image.
        ratios: as for `split_of`.
    Returns:
        The best salt; of equal ones the smallest.
    """
    images = list(images)
    tries = max(1, min(MAX_SALT + 1, _MAX_HASHES // max(1, len(images))))
    targets = _find_targets(images, ratios)
    return min(range(tries), key=lambda salt: _rank(images, salt, ratios, targets))


def _find_targets(images: list[tuple[str, str]], ratios: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Images that each class and all together (label "") should have in each split."""
    sizes = collections.Counter(label for label, _ in images)
    total = sum(ratios.values())
    return {
        (label, split): size * ratio / total
        for label, size in [*sizes.items(), (_ALL, len(images))]
        for split, ratio in ratios.items()
    }


def _rank(
    images: list[tuple[str, str]], salt: int, ratios: Mapping[str, float], targets: dict[tuple[str, str], float]
) -> tuple[int, float, float]:
    """Gaps, largest deviation, and sum of squared deviations of a salt; less is better."""
    counts = collections.Counter((label, split_of(digest, salt, ratios)) for label, digest in images)
    gaps = len(targets) - len(ratios) - len(counts)
    for (_, split), count in list(counts.items()):
        counts[_ALL, split] += count
    squares = [(counts[key] - target) ** 2 / target for key, target in targets.items() if target]
    # Rounded, for the last bits are not the same on every machine.
    return gaps, round(max(squares, default=0.0), 9), round(sum(squares), 9)


def count_splits(assigned: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts images by split and class.

    Args:
        assigned: (split, label) of each image.
    Returns:
        split -> label -> count; every split is there, in the order train, val, test.
    """
    counts: dict[str, collections.Counter[str]] = {split: collections.Counter() for split in SPLITS}
    for split, label in assigned:
        counts[split][label] += 1
    return {split: dict(sorted(counter.items())) for split, counter in counts.items()}
