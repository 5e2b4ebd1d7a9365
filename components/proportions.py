"""Statistics of shares: the interval, the exact test of two models on the same images, and that of a coverage.

Imports no SciPy, whose import takes a second of `./graft check` and `./graft report`.
"""

import math

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share after Wilson (1927).

    Args:
        right: number of right predictions.
        images: number of images, 1 or more.
    """
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    # The ends at 0 and 1 are exact, so that a flawless class reaches a floor of 1.
    return 0.0 if right == 0 else middle - half, 1.0 if right == images else middle + half


def count_needed(share: float, images: int) -> int | None:
    """Returns the least number of right predictions whose interval lies above a share.

    Args:
        share: share to surpass, 0 to 1.
        images: number of images, 1 or more.
    Returns:
        The number; None if even right predictions of all images do not suffice.
    """
    low, high = 0, images + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if middle > images or wilson_interval(middle, images)[0] > share else (middle + 1, high)
        )
    return low if low <= images else None


def count_images(share: float) -> int | None:
    """Returns the least number of images on which the interval of a flawless model lies above a share.

    The lower end of a flawless model's interval is n / (n + z²).

    Args:
        share: share to surpass, 0 to 1.
    Returns:
        The number; None for a share of 1, which no number of images surpasses.
    """
    if share >= 1:
        return None
    images = max(1, math.floor(_Z**2 * share / (1 - share)))
    while count_needed(share, images) is None:
        images += 1
    return images


def mcnemar_p(lost: int, won: int) -> float:
    """Returns the p-value of the exact one-sided test of McNemar (1947): is a model worse than another one?

    Only images that one model alone predicts right count. Of equal models, each of these falls to either model with
    probability 1/2, so the p-value is a tail of a binomial distribution. The sum has whole numbers, so it is exact.

    Args:
        lost: number of images that only the other model predicts right.
        won: number of images that only this model predicts right.
    Returns:
        Probability that of equal models the other one has `lost` or more of these images.
    """
    total, tail, ways = lost + won, 0, 1
    for count in range(total, lost - 1, -1):  # `ways` is the binomial coefficient of `total` over `count`
        tail += ways
        ways = ways * count // (total - count + 1)
    return tail / (1 << total)


def two_sided_mcnemar_p(one: int, other: int) -> float:
    """Returns the p-value of the exact two-sided test of McNemar (1947): do two models differ?

    Args:
        one: number of images that only the first model predicts right.
        other: number of images that only the second model predicts right.
    Returns:
        Twice the smaller one-sided p-value, at most 1; 1 without such images.
    """
    return min(1.0, 2 * mcnemar_p(max(one, other), min(one, other)))


def conformal_p(accepted: int, images: int, rank: int, fitted: int) -> float:
    """Returns the p-value of the exact test: are fewer images accepted than by chance?

    Chance lies in both samples: the one that the threshold comes from, and the one that is counted. If all images are
    exchangeable, the number of accepted ones has a negative hypergeometric distribution.

    Args:
        accepted: number of images with a score that is not below the threshold.
        images: number of images.
        rank: rank of the threshold from the top, among the scores of the other sample.
        fitted: number of images of the other sample, `rank` or more.
    Returns:
        Probability of so few accepted images, or fewer.
    """
    total = _log_choose(fitted + images, images)
    terms = (
        _log_choose(count + rank - 1, count) + _log_choose(images - count + fitted - rank, images - count) - total
        for count in range(accepted + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def _log_choose(whole: int, part: int) -> float:
    return math.lgamma(whole + 1) - math.lgamma(part + 1) - math.lgamma(whole - part + 1)
