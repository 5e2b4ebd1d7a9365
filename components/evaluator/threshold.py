"""Lower bound of a candidate's accuracy, and the origin of that bound."""

import dataclasses
from collections.abc import Mapping

DEFAULT_MIN_ACCURACY = -1.0
_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Lower bound of the accuracy on `test`.

    Attributes:
        value: bound, 0 to 1.
        reason: origin of the bound, as text for the report.
    """

    value: float
    reason: str


def choose_threshold(min_accuracy: float, counts: Mapping[str, int]) -> Threshold:
    """Returns the bound that is set, or a default bound that a model which predicts one class always does not reach.

    The default is the share of the largest class among the images of all splits, plus 0.1. The share in `test` alone
    varies by chance, because `test` has few images. Above a share of 80 % the default is halfway from the share to 1,
    so that a model can reach it.

    Args:
        min_accuracy: 0 to 1, or `DEFAULT_MIN_ACCURACY` for the default.
        counts: number of images of all splits by class.
    Raises:
        ValueError: if no bound is set and there is no image.
    """
    if min_accuracy != DEFAULT_MIN_ACCURACY:
        return Threshold(min_accuracy, "min_accuracy")
    largest = max(counts, key=lambda label: counts[label])
    share = counts[largest] / sum(counts.values())
    margin = min(_MARGIN, (1 - share) / 2)
    reason = f"{share:.3f} of all images are of the class {largest}, and {margin:.3f} more is asked for"
    return Threshold(share + margin, f"{reason}; min_accuracy sets another bound")
