"""Makes small pictures of the images in the data folder, as data URIs without EXIF, within limits of pixels and bytes.

They are turned upright as in training.
"""

import base64
import dataclasses
import hashlib
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from pipeline.config.config import Resize
from pipeline.pictures.opening import limit, open_bounded, open_upright, to_rgb, turn
from pipeline.pictures.overlay import draw_overlay
from serving.storage.gfile import is_remote
from serving.storage.regular import read_regular

if TYPE_CHECKING:
    from serving.client.heat_maps import HeatMap

_MOST_BYTES = 64 << 20  # limit of a file
_QUALITY = 80  # JPEG quality
_SIDE = 160  # pixels of the longer side
_LARGEST_VIEW = 224  # limit of a network view in pixels; larger ones are shrunk
_BUDGET = 3_000_000  # limit in bytes for all pictures of a page
_RATIOS = (8, 4, 2)  # by which a JPEG can be reduced while it is decoded


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """Picture of an image.

    Attributes:
        uri: data URI; "" if there is no picture.
        problem: reason for no picture; "" if there is one.
        width, height: size of the picture in pixels.
    """

    uri: str = ""
    problem: str = ""
    width: int = _SIDE
    height: int = _SIDE


class Thumbnails:
    """Maker of thumbnails for the images below a folder.

    Args:
        data: folder; "" if it is remote or unknown.
        max_megapixels: limit above which an image is not decoded.
        upright: True to turn images upright by their EXIF orientation.
    """

    def __init__(self, data: str, max_megapixels: float, upright: bool = True):
        """Sets folder and limits; reads no file."""
        self._data = data
        self._most_pixels = int(max_megapixels * 1e6)
        self._upright = upright
        self._left = _BUDGET

    def make(self, path: str, digest: str = "") -> Thumbnail:
        """Shrinks an image to at most 160 pixels, and keeps its proportions.

        Args:
            path: path relative to the data folder.
            digest: hex sha256 of the file in the run; "" for no check.
        """
        return self._make(path, digest, lambda content: self._open_upright(content))

    def make_overlay(self, path: str, digest: str, heat_map: "HeatMap") -> Thumbnail:
        """Shrinks an image as `make`, and draws its heat map over it.

        Args:
            path: as for `make`.
            digest: as for `make`.
            heat_map: heat map of the image.
        """
        return self._make(path, digest, lambda content: draw_overlay(self._open_upright(content), heat_map))

    def make_network_view(self, path: str, digest: str, image_size: int, resize: Resize = "stretch") -> Thumbnail:
        """Decodes and resizes an image as the preprocessing graph does.

        Args:
            path: as for `make`.
            digest: as for `make`.
            image_size: side of the network's input in pixels.
            resize: how the image becomes a square, as in the configuration.
        """

        def make(content: bytes) -> Image.Image:
            square = make_square(open_bounded(content, self._most_pixels), image_size, resize)
            return turn(limit(square, _LARGEST_VIEW), content) if self._upright else limit(square, _LARGEST_VIEW)

        return self._make(path, digest, make)

    def _make(self, path: str, digest: str, make: Callable[[bytes], Image.Image]) -> Thumbnail:
        if not self._data or is_remote(self._data):
            return Thumbnail(problem="the images are not on this machine")
        try:
            content = read_regular(os.path.join(self._data, path), _MOST_BYTES)
        except (OSError, ValueError):
            return Thumbnail(problem="the file is gone")
        if digest and hashlib.sha256(content).hexdigest() != digest:
            return Thumbnail(problem="the file has changed since")
        try:
            thumbnail = _encode(make(content))
        except Exception:  # Pillow's decoders raise many types for a damaged file
            return Thumbnail(problem="the file cannot be shown")
        if len(thumbnail.uri) > self._left:
            return Thumbnail(problem="left out, to keep the page small")
        self._left -= len(thumbnail.uri)
        return thumbnail

    def _open_upright(self, content: bytes) -> Image.Image:
        return open_upright(content, _SIDE, self._most_pixels, self._upright)


def make_square(image: Image.Image, image_size: int, resize: Resize) -> Image.Image:
    """Resizes to a square as the preprocessing graph does: stretched within 1 of 255 levels, padded within a pixel.

    Args:
        image: image that is not decoded yet, so that a large JPEG can be reduced.
        image_size: side of the square in pixels.
        resize: how the image becomes a square, as in the configuration.
    """
    side = max(image.size) if resize == "pad" else min(image.size)
    ratio = next((ratio for ratio in _RATIOS if side >= image_size * ratio), 1)
    reduced = image.draft(None, (image.width // ratio, image.height // ratio))
    box = reduced[1] if reduced else None
    size, rgb = (image_size, image_size), to_rgb(image)
    match resize:
        case "crop":
            return ImageOps.fit(rgb, size, Image.Resampling.BILINEAR)
        case "pad":
            return ImageOps.pad(rgb, size, Image.Resampling.BILINEAR)
    return rgb.resize(size, Image.Resampling.BILINEAR, box)


def _encode(image: Image.Image) -> Thumbnail:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Thumbnail(uri, width=image.width, height=image.height)
