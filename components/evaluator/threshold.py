"""The accuracy that a candidate must reach, and where that figure comes from."""

import dataclasses
from collections.abc import Mapping

DEFAULT_MIN_ACCURACY = -1.0
_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A lower bound of the accuracy on `test`.

    Attributes:
        value: the bound, 0 to 1.
        reason: its origin, in words for a person.
    """

    value: float
    reason: str


def choose_threshold(min_accuracy: float, counts: Mapping[str, int]) -> Threshold:
    """Returns the bound that is set, or one that a model which has learnt nothing does not reach.

    Such a model gives every image the largest class. The bound is the share of that class among the images of all
    splits plus 0.1; its share of `test` alone depends on how few images were dealt. Above a share of 80 % the bound is
    halfway from the share to 1, which stays within reach.

    Args:
        min_accuracy: 0 to 1, or `DEFAULT_MIN_ACCURACY`.
        counts: images of all splits by class.
    Raises:
        ValueError: if there is no image and no bound is set.
    """
    if min_accuracy != DEFAULT_MIN_ACCURACY:
        return Threshold(min_accuracy, "min_accuracy")
    largest = max(counts, key=lambda label: counts[label])
    share = counts[largest] / sum(counts.values())
    margin = min(_MARGIN, (1 - share) / 2)
    reason = f"{share:.3f} of all images are of the class {largest}, and {margin:.3f} more is asked for"
    return Threshold(share + margin, f"{reason}; min_accuracy sets another bound")
