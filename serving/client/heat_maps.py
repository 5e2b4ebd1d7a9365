"""Heat maps in the answers of a model: the parts of an image that speak for its class."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from schema.errors import UsageError
from serving.client.refusals import ONE_CELL, describe_coarse
from serving.export.explanation import HEATMAP, ORIENTATION, RESIZE, View

NO_HEAT_MAPS = (
    "has no signature explain, so it gives no heat maps; an earlier Graft pushed it. Train a new version "
    "(./graft run), or leave out --explain."
)


class OneCellError(UsageError):
    """Error of a model whose heat maps have one cell, which tells no parts of an image apart."""


def check_cells(model: str, shape: Sequence[int | None]) -> None:
    """Refuses a model whose heat maps have one cell, before it is asked for any.

    Args:
        model: description of the model, for the message.
        shape: shape of the output `heatmap`, [N, h, w]; empty, None or -1 for what the signature leaves open.
    Raises:
        OneCellError: if h and w are 1.
    """
    if list(shape[1:]) == [1, 1]:
        raise OneCellError(f"{model}: {ONE_CELL}. Leave out --explain.")


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
    def coarse(self) -> str:
        """Sentence for the user if the map has few cells; else ""."""
        return describe_coarse(*self.heat.shape)


def read_heat_map(outputs: Mapping[str, np.ndarray], row: int) -> HeatMap | None:
    """Returns the heat map of a row of outputs; None for outputs of another signature than `explain`."""
    if not {HEATMAP, RESIZE, ORIENTATION} <= outputs.keys():
        return None
    resize, orientation = (_text(outputs[name][row]) for name in (RESIZE, ORIENTATION))
    return HeatMap(np.asarray(outputs[HEATMAP][row], np.float32), View(resize, orientation))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
