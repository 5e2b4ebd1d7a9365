"""Makes small pictures of the images in the data folder, as data URIs without EXIF, within limits of pixels and bytes.

They are turned upright as in training.
"""

import base64
import dataclasses
import hashlib
import io
import os
from collections.abc import Callable

from PIL import Image, ImageOps

from components.images.orientation import read_orientation
from pipeline.config.config import Resize
from serving.storage.gfile import is_remote
from serving.storage.regular import read_regular

_MOST_BYTES = 64 << 20  # limit of a file
_QUALITY = 80  # JPEG quality
_SIDE = 160  # pixels of the longer side
_LARGEST_VIEW = 224  # limit of a network view in pixels; larger ones are shrunk
_BUDGET = 3_000_000  # limit in bytes for all pictures of a page
_RATIOS = (8, 4, 2)  # by which a JPEG can be reduced while it is decoded
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


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
        return self._make(path, digest, _shrink)

    def make_network_view(self, path: str, digest: str, image_size: int, resize: Resize = "stretch") -> Thumbnail:
        """Decodes and resizes an image as the preprocessing graph does.

        Args:
            path: as for `make`.
            digest: as for `make`.
            image_size: side of the network's input in pixels.
            resize: how the image becomes a square, as in the configuration.
        """
        return self._make(path, digest, lambda image: _limit(make_square(image, image_size, resize), _LARGEST_VIEW))

    def _make(self, path: str, digest: str, resize: Callable[[Image.Image], Image.Image]) -> Thumbnail:
        if not self._data or is_remote(self._data):
            return Thumbnail(problem="the images are not on this machine")
        try:
            content = read_regular(os.path.join(self._data, path), _MOST_BYTES)
        except (OSError, ValueError):
            return Thumbnail(problem="the file is gone")
        if digest and hashlib.sha256(content).hexdigest() != digest:
            return Thumbnail(problem="the file has changed since")
        try:
            thumbnail = _encode(self._turn(resize(self._open(content)), content))
        except Exception:  # Pillow's decoders raise many types for a damaged file
            return Thumbnail(problem="the file cannot be shown")
        if len(thumbnail.uri) > self._left:
            return Thumbnail(problem="left out, to keep the page small")
        self._left -= len(thumbnail.uri)
        return thumbnail

    def _open(self, content: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(content), formats=["JPEG", "PNG", "GIF", "BMP"])
        if image.width * image.height > self._most_pixels:
            raise ValueError("too many pixels")
        return image

    def _turn(self, image: Image.Image, content: bytes) -> Image.Image:
        turn = _TURNS.get(read_orientation(content)) if self._upright else None
        return image if turn is None else image.transpose(turn)


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
    size, rgb = (image_size, image_size), _to_rgb(image)
    match resize:
        case "crop":
            return ImageOps.fit(rgb, size, Image.Resampling.BILINEAR)
        case "pad":
            return ImageOps.pad(rgb, size, Image.Resampling.BILINEAR)
    return rgb.resize(size, Image.Resampling.BILINEAR, box)


def _shrink(image: Image.Image) -> Image.Image:
    image.draft("RGB", (_SIDE, _SIDE))  # decodes a JPEG at down to an eighth of its size
    return _limit(_to_rgb(image), _SIDE)


def _limit(image: Image.Image, side: int) -> Image.Image:
    """Shrinks a larger image, and keeps its proportions."""
    image.thumbnail((side, side))
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Converts to RGB, without transparency, as TensorFlow's decoders do; takes the first frame of an animation."""
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.merge("RGB", [image.point(lambda level: level / 256).convert("L")] * 3)
    return image.convert("RGB")


def _encode(image: Image.Image) -> Thumbnail:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Thumbnail(uri, width=image.width, height=image.height)
