"""Decodes an image as serving would, to tell its size and its brightness, or why it is refused.

The decode cache is kept under a digest of this file and of all that it imports (`pipeline/code_digests.py`).
"""

import functools
import re

import tensorflow as tf

from components.images.decoding import decode_image, fits_limit, measure_image
from components.images.formats import READABLE, name_format

_VERDICT = "StringToNumberOp could not correctly convert string: "  # so the graph says what it does not decode at all
_GRID = 512  # pixels a side that the brightness is taken of: a cast of all would take four times the image's memory


def try_to_decode(encoded: bytes, max_megapixels: float) -> tuple[int, int, float]:
    """Decodes an image as serving would, unless it is too large for that.

    Args:
        encoded: the file.
        max_megapixels: the most that an image may have, in millions of pixels.
    Returns:
        Width and height in pixels, and the brightness, 0 to 255; of an image that is too large, 0.
    Raises:
        ValueError: if it cannot be decoded, with the reason.
    """
    if not encoded:
        raise ValueError("empty file")
    if not encoded.startswith(tuple(READABLE)):
        raise ValueError(f"{name_format(encoded)}; TensorFlow Serving reads {', '.join(READABLE.values())}")
    try:
        size, brightness = _trace_try()(tf.constant(encoded), tf.constant(max_megapixels, tf.float64))
    except tf.errors.OpError as error:
        raise ValueError(_explain(error)) from error
    width, height = size.numpy().tolist()
    return width, height, float(brightness)


@functools.cache
def _trace_try() -> "tf.types.experimental.ConcreteFunction":
    """Returns the trace of `_try`. A tf.function looks it up in each call, which takes longer than to read a header."""
    return _try.get_concrete_function()


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float64)])
def _try(encoded: tf.Tensor, max_megapixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Width and height of an image, int64 [2], and its brightness, float32; traced once.

    It is decoded only if it is not too large.
    """
    still, size = measure_image(encoded)

    def decode() -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(still)
        return tf.shape(image, tf.int64)[1::-1], _measure_brightness(image)

    return tf.cond(fits_limit(size, max_megapixels), decode, lambda: (size, 0.0))


def _measure_brightness(image: tf.Tensor) -> tf.Tensor:
    """The mean grey level on a grid of pixels; uint8 [height, width, 3] to float32, 0 to 255."""
    step = tf.maximum(1, tf.reduce_max(tf.shape(image)[:2]) // _GRID)
    return tf.reduce_mean(tf.cast(image[::step, ::step], tf.float32))


def _explain(error: tf.errors.OpError) -> str:
    """Says why an image is refused: in the words of the graph, or else in those of TensorFlow's decoder."""
    reason = find_reason(error)
    return reason.removeprefix(_VERDICT) if reason.startswith(_VERDICT) else f"cannot be decoded: {reason}"


def find_reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says went wrong, without where in the graph, and without the name of a file."""
    lines = [line for line in str(error.message).splitlines() if line and not line[0].isspace()]
    text = lines[-1].split("}} ")[-1].rpartition("; ")[2]
    return re.sub(r"\s*\[Op:\w+\].*$", "", text)
