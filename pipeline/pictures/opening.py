"""Decoding of images for people, by Pillow: in RGB, upright, and small."""

import io

from PIL import Image

from components.images.orientation import read_orientation

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


def open_upright(content: bytes, side: int, most_pixels: int, upright: bool = True) -> Image.Image:
    """Decodes an image, and shrinks a larger one in its proportions.

    Args:
        content: bytes of a JPEG, PNG, GIF or BMP file.
        side: most pixels of the longer side of the result.
        most_pixels: most pixels of the file; an image with more is not decoded.
        upright: True to turn the image upright by its EXIF orientation.
    Returns:
        The image in RGB, without transparency.
    Raises:
        ValueError: if the image has more pixels; Pillow's decoders raise other types as well.
    """
    image = open_bounded(content, most_pixels)
    image.draft("RGB", (side, side))  # decodes a JPEG at down to an eighth of its size
    shrunk = limit(to_rgb(image), side)
    return turn(shrunk, content) if upright else shrunk


def open_bounded(content: bytes, most_pixels: int) -> Image.Image:
    """Reads the header of an image and decodes nothing yet.

    Raises:
        ValueError: if the image has more pixels; Pillow raises other types as well.
    """
    image = Image.open(io.BytesIO(content), formats=["JPEG", "PNG", "GIF", "BMP"])
    if image.width * image.height > most_pixels:
        raise ValueError("too many pixels")
    return image


def turn(image: Image.Image, content: bytes) -> Image.Image:
    """Turns a decoded image upright by the EXIF orientation of its file."""
    transpose = _TURNS.get(read_orientation(content))
    return image if transpose is None else image.transpose(transpose)


def limit(image: Image.Image, side: int) -> Image.Image:
    """Shrinks a larger image, and keeps its proportions."""
    image.thumbnail((side, side))
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts to RGB, without transparency, as TensorFlow's decoders do; takes the first frame of an animation."""
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.merge("RGB", [image.point(lambda level: level / 256).convert("L")] * 3)
    return image.convert("RGB")
