"""Drawing of a heat map over the photograph that it explains; needs neither TensorFlow nor matplotlib."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.pictures.heat_colours import COLOURS

if TYPE_CHECKING:
    from serving.client.heat_maps import HeatMap

_COLOURS = np.array(COLOURS, np.float32)
_MOST_COVER = 0.65  # of the photograph, where the heat is 1
_UNSEEN = 0.35  # brightness of the parts that "crop" keeps from the network


def draw_overlay(picture: Image.Image, heat_map: "HeatMap") -> Image.Image:
    """Draws a heat map over a photograph: warm where the heat is high, and the photograph itself where it is 0.

    Args:
        picture: whole photograph, in RGB; upright if the network sees it upright.
        heat_map: heat map of the network's view.
    Returns:
        A picture of the same size. Parts that the network does not see are dark.
    """
    heat, seen = spread(heat_map, picture.size)
    colours = np.stack([np.interp(heat, np.linspace(0, 1, len(_COLOURS)), channel) for channel in _COLOURS.T], axis=-1)
    cover = _MOST_COVER * heat[:, :, np.newaxis]
    pixels = np.asarray(picture, np.float32) * np.where(seen, 1, _UNSEEN)[:, :, np.newaxis]
    return Image.fromarray(np.round(pixels * (1 - cover) + colours * cover).astype(np.uint8))


def spread(heat_map: "HeatMap", size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Spreads a heat map over a whole picture, bilinearly.

    Args:
        heat_map: heat map of the network's view.
        size: width and height of the picture in pixels.
    Returns:
        Heat float32 [height, width], 0 to 1; and the pixels that the network sees, bool [height, width].
    """
    width, height = size
    cells = Image.fromarray(np.clip(np.nan_to_num(heat_map.heat), 0, 1).astype(np.float32))
    if heat_map.view.resize == "crop":
        side = min(size)
        left, top = (width - side) // 2, (height - side) // 2
        canvas = Image.new("F", size, -1)
        canvas.paste(_resize(cells, (side, side)), (left, top))
        heat = np.asarray(canvas)
        return np.maximum(heat, 0), heat >= 0
    # The picture in the network's square, as shares of its sides.
    share = [length / max(size) if heat_map.view.resize == "pad" else 1.0 for length in size]
    box = [cells.size[axis] * (0.5 + sign * share[axis] / 2) for sign in (-1, 1) for axis in (0, 1)]
    return np.asarray(_resize(cells, size, box)), np.ones((height, width), bool)


def _resize(cells: Image.Image, size: tuple[int, int], box: list[float] | None = None) -> Image.Image:
    return cells.resize(size, Image.Resampling.BILINEAR, (box[0], box[1], box[2], box[3]) if box else None)
