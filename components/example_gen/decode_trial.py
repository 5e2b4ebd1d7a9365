"""Decodes an image as serving does; returns size, brightness and orientation, or the reason why it cannot be decoded.

A digest of this file and of its imports is part of the decode cache's key (`pipeline/code_digests.py`).
"""

import functools
import re
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from components.images.decoding import choose_octave, decode_image, fits_limit, read_header
from components.images.formats import READABLE, name_format

# The graph reports the reason for an image that it does not decode in an error message of this op.
_VERDICT = "StringToNumberOp could not correctly convert string: "
# Pixels of the longer side that the brightness is computed on, 1023 at the most.
_GRID = 512
_building = threading.Lock()


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
        size, pixels, orientation = _make_decoder()(np.array(encoded, object), np.float64(max_megapixels))
    except tf.errors.OpError as error:
        raise ValueError(_explain(error)) from error
    width, height = size.tolist()
    return width, height, _measure_brightness(pixels), int(orientation)


def _make_decoder() -> Callable[[np.ndarray, np.float64], list[np.ndarray]]:
    """Returns `_decode` as a call that any thread may make; builds its graph once, whichever threads ask."""
    with _building:
        return _build_decoder()


@functools.cache
def _build_decoder() -> Callable[[np.ndarray, np.float64], list[np.ndarray]]:
    """Builds the graph of `_decode` in a session whose ops run in the calling thread.

    A tf.function hands its ops to the threads of a pool, some 40 times for an image, and a second thread of the caller
    gains nothing. `read_images` has a thread for each core already.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.device("/CPU:0"):
        inputs = [tf.compat.v1.placeholder(kind, []) for kind in (tf.string, tf.float64)]
        outputs = _decode(*inputs)
    options = config_pb2.CallableOptions(
        feed=[tensor.name for tensor in inputs],
        fetch=[tensor.name for tensor in outputs],
        run_options=config_pb2.RunOptions(inter_op_thread_pool=-1),  # the calling thread
    )
    # Keras and the Estimator have called this method since TensorFlow 1.8; no public API is as fast.
    return tf.compat.v1.Session(graph=graph)._make_callable_from_options(options)


def _decode(encoded: tf.Tensor, max_megapixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Measures an image, and decodes it only if it is not too large.

    Args:
        encoded: content of the file, string scalar.
        max_megapixels: upper bound of an image, float64 scalar, in millions of pixels.
    Returns:
        Width and height, int64 [2]; a grid of pixels, uint8 [rows, columns, 3], of no rows if the image is too large;
        and the orientation, int32.
    """
    header = read_header(encoded)

    def decode() -> tf.Tensor:
        image = decode_image(header.encoded, choose_octave(header, _GRID, longer=True))
        step = tf.maximum(1, tf.reduce_max(tf.shape(image)[:2]) // _GRID)
        return image[::step, ::step]

    pixels = tf.cond(fits_limit(header.size, max_megapixels), decode, lambda: tf.zeros([0, 0, 3], tf.uint8))
    return header.size, pixels, header.orientation


def _measure_brightness(pixels: np.ndarray) -> float:
    """Computes the mean of pixels, uint8 [rows, columns, 3], to the last bit of float32, 0 to 255; 0 without pixels.

    A sum of float32 depends on the number of cores that share it. A sum of at most 4 million bytes fits uint32.
    """
    return float(np.float32(pixels.sum(dtype=np.uint32) / max(1, pixels.size)))


def _explain(error: tf.errors.OpError) -> str:
    """Returns the reason why an image cannot be decoded: the graph's text, or else that of TensorFlow's decoder."""
    reason = find_reason(error)
    return reason.removeprefix(_VERDICT) if reason.startswith(_VERDICT) else f"cannot be decoded: {reason}"


def find_reason(error: tf.errors.OpError) -> str:
    """Returns the reason in TensorFlow's message, without the position in the graph and the name of a file."""
    lines = [line for line in str(error.message).splitlines() if line and not line[0].isspace()]
    text = lines[-1].split("}} ")[-1].rpartition("; ")[2]
    return re.sub(r"\s*\[Op:\w+\].*$", "", text)
