"""Reads the files that claim to be images, and says of each what serving would say of it."""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Sequence

import tensorflow as tf

from components import progress
from components.example_gen import layout
from components.example_gen.decode_cache import DecodedImages
from components.example_gen.duplicates import Record
from components.images.decoding import decode_image, is_bearable, measure_image
from components.images.formats import READABLE, UNFINISHED, name_format
from components.images.orientation import is_oriented
from serving.storage.gfile import REQUESTS_AT_ONCE, is_remote
from serving.storage.regular import read_regular
from serving.storage.threads import thread_pool

GONE = "gone since the folder was listed"
_VERDICT = "StringToNumberOp could not correctly convert string: "  # so the graph says what it does not decode at all

_GRID = 512  # pixels a side that the brightness is taken of: a cast of all would take four times the image's memory


def read_images(
    files: Sequence[layout.ImageFile],
    data: str,
    max_megapixels: float,
    total: int,
    decoded: DecodedImages | None = None,
) -> list[Record]:
    """Reads and decodes files on all cores, for TensorFlow lets other threads run meanwhile.

    Memory holds one file and its decoded image a core; from a store, where most of the time is waiting, of more.

    Args:
        files: what to read.
        data: the folder that their paths are relative to.
        max_megapixels: as for `read_image`.
        total: how many files are read in all; for the progress.
        decoded: what need not be decoded again; the others are added.
    Returns:
        A record of each, in the same order.
    """
    records = []
    with thread_pool(REQUESTS_AT_ONCE if is_remote(data) else os.cpu_count()) as threads:
        for record in threads.map(lambda file: read_image(file, data, max_megapixels, decoded), files):
            records.append(record)
            progress.report("images read", 1, total)
    if decoded:
        decoded.add(records)
    return records


def read_image(
    file: layout.ImageFile, data: str, max_megapixels: float, decoded: DecodedImages | None = None
) -> Record:
    """Reads and decodes one file as serving does: what passes here can be served.

    Args:
        file: what to read.
        data: the folder that its path is relative to.
        max_megapixels: the most that an image may have, in millions of pixels.
        decoded: what need not be decoded again.
    Returns:
        Its record; broken, with the reason, if it cannot be served.
    """
    record = Record(file.path, file.label, file.span, file.split, file.size)
    if file.path.lower().endswith(UNFINISHED):
        return _broken(record, "unfinished download; bring the whole file, or remove it")
    path = os.path.join(data, file.path)
    try:
        encoded = tf.io.gfile.GFile(path, "rb").read() if is_remote(path) else read_regular(path)
    except (tf.errors.NotFoundError, FileNotFoundError):
        return _broken(record, "a link to nowhere" if os.path.islink(path) else GONE)
    except OSError as error:
        return _broken(record, f"cannot be read: {error.strerror}")
    except tf.errors.OpError as error:
        return _broken(record, f"cannot be read: {_reason(error)}")
    record = dataclasses.replace(record, digest=hashlib.sha256(encoded).hexdigest())
    known = decoded.find(record.digest) if decoded else None
    try:
        width, height, brightness, oriented = known or (*try_to_decode(encoded, max_megapixels), is_oriented(encoded))
    except ValueError as error:
        return _broken(record, str(error))
    if (megapixels := width * height / 1e6) > max_megapixels:
        claimed = f"{width} x {height} pixels are {round(megapixels, 2):g} megapixels"
        return _broken(record, f"{claimed}; max_megapixels allows {max_megapixels:g}")
    return dataclasses.replace(record, oriented=oriented, width=width, height=height, brightness=brightness)


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

    return tf.cond(is_bearable(size, max_megapixels), decode, lambda: (size, 0.0))


def _measure_brightness(image: tf.Tensor) -> tf.Tensor:
    """The mean grey level on a grid of pixels; uint8 [height, width, 3] to float32, 0 to 255."""
    step = tf.maximum(1, tf.reduce_max(tf.shape(image)[:2]) // _GRID)
    return tf.reduce_mean(tf.cast(image[::step, ::step], tf.float32))


def _broken(record: Record, problem: str) -> Record:
    return dataclasses.replace(record, problem=problem, broken=True)


def _explain(error: tf.errors.OpError) -> str:
    """Says why an image is refused: in the words of the graph, or else in those of TensorFlow's decoder."""
    reason = _reason(error)
    return reason.removeprefix(_VERDICT) if reason.startswith(_VERDICT) else f"cannot be decoded: {reason}"


def _reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says went wrong, without where in the graph, and without the name of a file."""
    lines = [line for line in str(error.message).splitlines() if line and not line[0].isspace()]
    text = lines[-1].split("}} ")[-1].rpartition("; ")[2]
    return re.sub(r"\s*\[Op:\w+\].*$", "", text)
