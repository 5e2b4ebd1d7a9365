"""Decodes an image as serving does; returns size, brightness and orientation, or the reason why it cannot be decoded.

A digest of this file and of its imports is part of the decode cache's key (`pipeline/code_digests.py`).
"""

import functools
import re

import tensorflow as tf

from components.images.decoding import choose_octave, decode_image, fits_limit, read_header
from components.images.formats import READABLE, name_format

# The graph reports the reason for an image that it does not decode in an error message of this op.
_VERDICT = "StringToNumberOp could not correctly convert string: "
# Pixels of the longer side that the brightness is computed on. A cast of all pixels takes 4 times the image's memory.
_GRID = 512


def try_to_decode(encoded: bytes, max_megapixels: float) -> tuple[int, int, float, int]:
    """Decodes an image as serving does, unless the image is too large.

    A large JPEG is reduced while it is decoded. libjpeg reads the same bytes at each ratio, and rejects the same files.

    Args:
        encoded: content of the file.
        max_megapixels: upper bound of an image, in millions of pixels.
    Returns:
        Width and height in pixels, as stored; the brightness, 0 to 255, or 0 if the image is too large; and the EXIF
        orientation, 1 to 8.
    Raises:
        ValueError: if the image cannot be decoded; the message is the reason.
    """
    if not encoded:
        raise ValueError("empty file")
    if not encoded.startswith(tuple(READABLE)):
        raise ValueError(f"{name_format(encoded)}; TensorFlow Serving reads {', '.join(READABLE.values())}")
    try:
        size, brightness, orientation = _trace_decode()(tf.constant(encoded), tf.constant(max_megapixels, tf.float64))
    except tf.errors.OpError as error:
        raise ValueError(_explain(error)) from error
    width, height = size.numpy().tolist()
    return width, height, float(brightness), int(orientation)


@functools.cache
def _trace_decode() -> "tf.types.experimental.ConcreteFunction":
    """Returns the trace of `_decode`.

    A tf.function looks its trace up in each call, which takes longer than reading a header.
    """
    return _decode.get_concrete_function()


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float64)])
def _decode(encoded: tf.Tensor, max_megapixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Measures an image, and decodes it only if it is not too large.

    Returns:
        Width and height, int64 [2]; the brightness, float32; and the orientation, int32.
    """
    header = read_header(encoded)

    def decode() -> tf.Tensor:
        return _measure_brightness(decode_image(header.encoded, choose_octave(header, _GRID, longer=True)))

    brightness = tf.cond(fits_limit(header.size, max_megapixels), decode, lambda: 0.0)
    return header.size, brightness, header.orientation


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
