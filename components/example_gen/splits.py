"""Split of images by a hash of a salt and their bytes: with one salt, the same bytes fall into the same split.

The salt of the live version is kept. Until a version is live, `choose_salt` draws one for the images of each run.
"""

import collections
import hashlib
from collections.abc import Iterable, Mapping

from schema.features import SPLITS

MAX_SALT = 999
_MAX_HASHES = 2_000_000  # bounds the work of `choose_salt` on large data, where fewer salts are tried
_ALL = ""  # stands for all classes together; no class has this name


def assign_split(digest: str, salt: int, ratios: Mapping[str, float]) -> str:
    """Assigns an image to a split, independent of the path and class of the image.

    Args:
        digest: hex sha256 of the bytes.
        salt: number that is hashed with the digest; another salt assigns all images anew.
        ratios: share of each split; any positive numbers.
    Returns:
        Name of the split.
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
    """Chooses the salt whose splits are closest to the ratios.

    A random salt may assign 4 or 15 of 60 images to a split of 15 %. A metric on such a split says little. So 1,000
    salts are tried; fewer above 2,000 images, where random splits deviate less. The best salt has the fewest classes
    without an image in a split; then the smallest maximum deviation from a target, for a class in a split or for a
    whole split, in units of the target's square root; then the smallest sum of squared deviations.

    Args:
        images: (label, digest) of each image.
        ratios: as for `assign_split`.
    Returns:
        The best salt; the smallest of several best ones.
    """
    images = list(images)
    tries = max(1, min(MAX_SALT + 1, _MAX_HASHES // max(1, len(images))))
    targets = _find_targets(images, ratios)
    return min(range(tries), key=lambda salt: _rank(images, salt, ratios, targets))


def _find_targets(images: list[tuple[str, str]], ratios: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Computes the number of images that each class, and all classes together (label ""), should have in each split."""
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
    """Returns the rank of a salt: gaps, largest deviation, sum of squared deviations; the smallest rank is the best."""
    counts = collections.Counter((label, assign_split(digest, salt, ratios)) for label, digest in images)
    gaps = len(targets) - len(ratios) - len(counts)
    for (_, split), count in list(counts.items()):
        counts[_ALL, split] += count
    squares = [(counts[key] - target) ** 2 / target for key, target in targets.items() if target]
    # Rounded, because the last bits differ between machines.
    return gaps, round(max(squares, default=0.0), 9), round(sum(squares), 9)


def count_splits(assigned: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts images by split and class.

    Args:
        assigned: (split, label) of each image.
    Returns:
        Number of images by split and label; all splits are present, in the order train, val, test.
    """
    counts: dict[str, collections.Counter[str]] = {split: collections.Counter() for split in SPLITS}
    for split, label in assigned:
        counts[split][label] += 1
    return {split: dict(sorted(counter.items())) for split, counter in counts.items()}
