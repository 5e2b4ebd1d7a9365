"""Walks through the header of a JPEG, to its size, in stock ops that TensorFlow Lite's flex delegate has as well.

A header is a row of segments (ITU-T T.81, B.1.1.2 to B.1.1.4): a marker, which is 0xFF and a code, and behind most
codes a length in two bytes, big-endian, which counts itself and the content. Content may hold bytes that look like
markers, those of a thumbnail for example, so that no search for a frame header finds the right one. Between segments
any bytes are skipped up to the next marker, as libjpeg does, and not only fill bytes (0xFF). So an image that libjpeg
decodes has the size that is found here.
"""

import numpy as np
import tensorflow as tf

from components.images import jpeg_scans
from components.images.formats import JPEG_FRAMES

MAX_STEPS = 1000  # 64 MB of large segments, or 256 kB of small ones and of bytes between; photographs need 1 to 100

_NO_MARKERS = [0x00, 0xFF]  # behind a 0xFF: that byte is of the content, or a fill byte
_WITHOUT_LENGTH = [0x01, *range(0xD0, 0xDB)]  # TEM, RST, SOI and EOI; and SOS, where libjpeg refuses what has no frame
_SEGMENT = -1
_DOUBLINGS = 8
_WINDOW = 1 << _DOUBLINGS  # bytes that a step looks at; most headers have fewer before their frame


def read_size(jpeg: tf.Tensor) -> tf.Tensor:
    """Reads width and height from the frame header of a JPEG.

    Args:
        jpeg: string scalar; begins with 0xFF 0xD8.
    Returns:
        int64 [2], in pixels.
    Raises:
        tf.errors.InvalidArgumentError: if there is no frame header with a width and a height within MAX_STEPS, or if
            there are too many scans behind it.
    """
    at, found = find_marker(jpeg, 2, JPEG_FRAMES)
    # Behind marker (2 bytes), length (2) and bits a sample (1): height and width (B.2.2). Past the end there are zeros.
    fields = tf.strings.substr(jpeg, tf.minimum(at + 5, tf.strings.length(jpeg)), 4)
    size = tf.cast(tf.io.decode_raw(fields, tf.uint16, little_endian=False, fixed_length=4)[::-1], tf.int64)
    known = found & (tf.reduce_min(size) > 0)
    excess = jpeg_scans.describe_excess(jpeg, at, size)
    verdict = tf.where(known, excess, f"no size in the first {MAX_STEPS} steps of its header")
    return size + tf.strings.to_number(verdict, tf.int64)  # raises the verdict if it is no number


def find_marker(jpeg: tf.Tensor, start: int, codes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Walks from segment to segment up to a marker.

    A step looks at all bytes of a window at once, as if a marker were due at each: that tells where the next marker is
    due. Following these places twice as far each time (pointer jumping) leads to the last one in the window.

    Args:
        jpeg: string scalar.
        start: where a marker is due, in bytes; within the file.
        codes: those of the markers to find.
    Returns:
        int32 scalar, the place of the first of these markers; and bool scalar, false if there is none, or none within
        MAX_STEPS.
    """
    length = tf.strings.length(jpeg)
    advances: np.ndarray = np.full(256, _SEGMENT, np.int32)  # by code, in bytes
    advances[_NO_MARKERS], advances[_WITHOUT_LENGTH], advances[codes] = 1, 2, 0
    places: np.ndarray = np.arange(_WINDOW, dtype=np.int32)

    def step(at: tf.Tensor, _: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        window = tf.strings.substr(jpeg, at, _WINDOW + 3)
        content = tf.cast(tf.io.decode_raw(window, tf.uint8, fixed_length=_WINDOW + 3), tf.int32)
        first, code, high, low = (content[i : i + _WINDOW] for i in range(4))
        advance = tf.where(tf.equal(first, 0xFF), tf.gather(advances, code), 1)
        advance = tf.where(tf.equal(advance, _SEGMENT), 2 + 256 * high + low, advance)
        target = tf.where(places + advance < _WINDOW, places + advance, places)
        for _ in range(_DOUBLINGS):
            target = tf.gather(target, target)
        last = tf.gather(advance, target[0])
        return at + target[0] + last, last, count + 1

    def goes_on(at: tf.Tensor, last: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return (last > 0) & (at < length) & (count < MAX_STEPS)

    # Mostly one step is enough. It stands before the loop, for a loop that takes no step costs less than one that does.
    at, last, _ = tf.while_loop(goes_on, step, step(tf.constant(start), tf.constant(1), tf.constant(0)))
    return at, tf.equal(last, 0)
