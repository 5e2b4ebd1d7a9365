"""Heat maps in the answers of a model: the parts of an image that speak for its class."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from serving.export.explanation import HEATMAP, ORIENTATION, RESIZE, View

NO_HEAT_MAPS = (
    "has no signature explain, so it gives no heat maps; an earlier Graft pushed it. Train a new version "
    "(./graft run), or leave out --explain."
)


@dataclasses.dataclass(frozen=True, eq=False)
class HeatMap:
    """Heat map of an image, on the square that the network sees of it.

    Attributes:
        heat: float32 [h, w], 0 to 1; a cell is the mean of a part of the square.
        view: how the square was made of the picture.
    """

    heat: np.ndarray
    view: View

    @property
    def has_one_cell(self) -> bool:
        """True if one cell covers the whole square, so that the map does not tell parts of it apart."""
        return self.heat.size == 1


def read_heat_map(outputs: Mapping[str, np.ndarray], row: int) -> HeatMap | None:
    """Returns the heat map of a row of outputs; None for outputs of another signature than `explain`."""
    if not {HEATMAP, RESIZE, ORIENTATION} <= outputs.keys():
        return None
    resize, orientation = (_text(outputs[name][row]) for name in (RESIZE, ORIENTATION))
    return HeatMap(np.asarray(outputs[HEATMAP][row], np.float32), View(resize, orientation))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
