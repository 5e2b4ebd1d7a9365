"""Decodes an image as serving does; returns its size and brightness, or the reason why it cannot be decoded.

A digest of this file and of its imports is part of the decode cache's key (`pipeline/code_digests.py`).
"""

import functools
import re

import tensorflow as tf

from components.images.decoding import decode_image, fits_limit, measure_image
from components.images.formats import READABLE, name_format

# The graph reports the reason for an image that it does not decode in an error message of this op.
_VERDICT = "StringToNumberOp could not correctly convert string: "
# Pixels a side of the grid that the brightness is computed on. A cast of all pixels takes 4 times the image's memory.
_GRID = 512


def try_to_decode(encoded: bytes, max_megapixels: float) -> tuple[int, int, float]:
    """Decodes an image as serving does, unless the image is too large.

    Args:
        encoded: content of the file.
        max_megapixels: upper bound of an image, in millions of pixels.
    Returns:
        Width and height in pixels, and the brightness, 0 to 255; the brightness is 0 if the image is too large.
    Raises:
        ValueError: if the image cannot be decoded; the message is the reason.
    """
    if not encoded:
        raise ValueError("empty file")
    if not encoded.startswith(tuple(READABLE)):
        raise ValueError(f"{name_format(encoded)}; TensorFlow Serving reads {', '.join(READABLE.values())}")
    try:
        size, brightness = _trace_decode()(tf.constant(encoded), tf.constant(max_megapixels, tf.float64))
    except tf.errors.OpError as error:
        raise ValueError(_explain(error)) from error
    width, height = size.numpy().tolist()
    return width, height, float(brightness)


@functools.cache
def _trace_decode() -> "tf.types.experimental.ConcreteFunction":
    """Returns the trace of `_decode`.

    A tf.function looks its trace up in each call, which takes longer than reading a header.
    """
    return _decode.get_concrete_function()


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float64)])
def _decode(encoded: tf.Tensor, max_megapixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Measures an image, and decodes it only if it is not too large.

    Returns:
        Width and height, int64 [2], and the brightness, float32.
    """
    still, size = measure_image(encoded)

    def decode() -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(still)
        return tf.shape(image, tf.int64)[1::-1], _measure_brightness(image)

    return tf.cond(fits_limit(size, max_megapixels), decode, lambda: (size, 0.0))


def _measure_brightness(image: tf.Tensor) -> tf.Tensor:
    """Computes the mean pixel value on a grid of pixels; uint8 [height, width, 3] to float32, 0 to 255."""
    step = tf.maximum(1, tf.reduce_max(tf.shape(image)[:2]) // _GRID)
    return tf.reduce_mean(tf.cast(image[::step, ::step], tf.float32))


def _explain(error: tf.errors.OpError) -> str:
    """Returns the reason why an image cannot be decoded: the graph's text, or else that of TensorFlow's decoder."""
    reason = find_reason(error)
    return reason.removeprefix(_VERDICT) if reason.startswith(_VERDICT) else f"cannot be decoded: {reason}"


def find_reason(error: tf.errors.OpError) -> str:
    """Returns the reason in TensorFlow's message, without the position in the graph and the name of a file."""
    lines = [line for line in str(error.message).splitlines() if line and not line[0].isspace()]
    text = lines[-1].split("}} ")[-1].rpartition("; ")[2]
    return re.sub(r"\s*\[Op:\w+\].*$", "", text)
