"""Splits images by a hash of their bytes: the same bytes always fall in the same split."""

import collections
import hashlib
from collections.abc import Iterable, Mapping

from schema.features import SPLITS

MAX_SALT = 999
# Where every salt must be tried, the data is small; this bounds the work where it is not.
_MAX_HASHES = 2_000_000


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
    """The smallest salt that leaves no class without an image in a split.

    With 10 images a class and 15 % for a split, every fifth class would lack a split by chance.

    Args:
        images: (label, digest) of each image.
        ratios: as for `split_of`.
    Returns:
        That salt; where none up to 999 will do, the one that leaves the fewest gaps.
    """
    images = list(images)
    labels = {label for label, _ in images}
    tries = max(1, min(MAX_SALT + 1, _MAX_HASHES // max(1, len(images))))
    best, fewest = 0, len(labels) * len(ratios) + 1
    for salt in range(tries):
        filled = {(label, split_of(digest, salt, ratios)) for label, digest in images}
        gaps = len(labels) * len(ratios) - len(filled)
        if gaps < fewest:
            best, fewest = salt, gaps
        if not gaps:
            break
    return best


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
