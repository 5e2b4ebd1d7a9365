"""Size and EXIF orientation of a JPEG from its header, in stock ops that TensorFlow Lite's flex delegate has as well.

A header is a row of segments (ITU-T T.81, B.1.1.2 to B.1.1.4). A segment is a marker, which is 0xFF and a code, and
behind most codes a length in two bytes, big-endian, which counts itself and the content. The content may hold bytes
that look like markers, those of a thumbnail for example: a search for a frame header may find that of the thumbnail.
So the header is walked segment by segment. Between segments all bytes up to the next marker are skipped, as libjpeg
does, and not only fill bytes (0xFF). So the size found here is the size that libjpeg decodes.
"""

import numpy as np
import tensorflow as tf

from components.images import exif, jpeg_scans
from components.images.formats import EXIF, JPEG_FRAMES, UPRIGHT

MAX_STEPS = 1000  # 64 MB of large segments, or 256 kB of small ones and of bytes between; photographs need 1 to 100

_NO_MARKERS = [0x00, 0xFF]  # behind a 0xFF that belongs to the content, or is a fill byte
_WITHOUT_LENGTH = [0x01, *range(0xD0, 0xDB)]  # TEM, RST, SOI and EOI; and SOS: libjpeg rejects SOS before a frame
_SEGMENT, _APP1 = -1, -2
_APP1_CODE = 0xE1
_NO_EXIF = 0  # offset 0 is that of the first marker, SOI
_LOOK_AHEAD = 4  # bytes behind a window that a marker in its last byte needs
_DOUBLINGS = 8
_WINDOW = 1 << _DOUBLINGS  # bytes that a step reads; most headers have fewer before their frame


def read_header(jpeg: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads width and height from the frame header of a JPEG, and the orientation from the EXIF segment before it.

    Args:
        jpeg: string scalar; begins with 0xFF 0xD8.
    Returns:
        int64 [2], width and height in pixels; and int32 scalar, the orientation as for `exif.read_orientation`.
    Raises:
        tf.errors.InvalidArgumentError: if MAX_STEPS lead to no frame header with a width and a height, or if the frame
            has too many scans.
    """
    at, found, exif_at = find_frame(jpeg)
    # Behind marker (2 bytes), length (2) and bits a sample (1): height and width (B.2.2). Past the end: zeros.
    fields = tf.strings.substr(jpeg, tf.minimum(at + 5, tf.strings.length(jpeg)), 4)
    size = tf.cast(tf.io.decode_raw(fields, tf.uint16, little_endian=False, fixed_length=4)[::-1], tf.int64)
    known = found & (tf.reduce_min(size) > 0)
    excess = jpeg_scans.describe_excess(jpeg, at, size)
    verdict = tf.where(known, excess, f"no size in the first {MAX_STEPS} steps of its header")
    size += tf.strings.to_number(verdict, tf.int64)  # raises the verdict as its error text if that is no number
    return size, tf.cond(exif_at > _NO_EXIF, lambda: _read_orientation(jpeg, exif_at), lambda: UPRIGHT)


def _read_orientation(jpeg: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the EXIF segment at an offset; int32 scalar."""
    length = tf.io.decode_raw(tf.strings.substr(jpeg, at + 2, 2), tf.uint16, little_endian=False)[0]
    begin = 4 + len(EXIF)  # behind marker, length and the mark of EXIF
    return exif.read_orientation(
        tf.strings.substr(jpeg, at + begin, tf.maximum(tf.cast(length, tf.int32) + 2 - begin, 0))
    )


def find_frame(jpeg: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds the first frame header of a JPEG, and the first EXIF segment before it.

    A step reads a window and computes for each byte the offset of the next segment, as if a segment began at that byte.
    Pointer jumping, which doubles the number of segments followed each time, leads to the last segment in the window.

    Args:
        jpeg: string scalar; begins with 0xFF 0xD8.
    Returns:
        int32 scalar, the offset of the frame header; bool scalar, false if MAX_STEPS lead to no frame header; and int32
        scalar, the offset of the EXIF segment, or 0.
    """
    length = tf.strings.length(jpeg)
    advances: np.ndarray = np.full(256, _SEGMENT, np.int32)  # by code, in bytes
    advances[_NO_MARKERS], advances[_WITHOUT_LENGTH], advances[JPEG_FRAMES], advances[_APP1_CODE] = 1, 2, 0, _APP1
    places: np.ndarray = np.arange(_WINDOW, dtype=np.int32)

    def step(at: tf.Tensor, _: tf.Tensor, exif_at: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        window = tf.strings.substr(jpeg, at, _WINDOW + _LOOK_AHEAD)
        content = tf.cast(tf.io.decode_raw(window, tf.uint8, fixed_length=_WINDOW + _LOOK_AHEAD), tf.int32)
        first, code, high, low, content_first = (content[i : i + _WINDOW] for i in range(_LOOK_AHEAD + 1))
        kind = tf.where(tf.equal(first, 0xFF), tf.gather(advances, code), 1)
        advance = tf.where(kind < 0, 2 + 256 * high + low, kind)
        behind = places + advance
        # What may be the first EXIF segment stops the jumps as well. Bytes like it may stand inside another segment.
        stops = tf.equal(kind, _APP1) & tf.equal(content_first, EXIF[0]) & tf.equal(exif_at, _NO_EXIF)
        target = tf.where((behind < _WINDOW) & ~stops, behind, places)
        for _ in range(_DOUBLINGS):
            target = tf.gather(target, target)
        place = target[0]
        last, at = tf.gather(advance, place), at + place
        mark = tf.strings.substr(jpeg, tf.minimum(at + 4, length), len(EXIF))
        is_exif = tf.gather(stops, place) & tf.equal(mark, EXIF)
        return at + last, last, tf.where(is_exif, at, exif_at), count + 1

    def goes_on(at: tf.Tensor, last: tf.Tensor, exif_at: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return (last > 0) & (at < length) & (count < MAX_STEPS)

    # One step is enough for most files. It stands before the loop: a loop without a step costs less than one with one.
    start = step(tf.constant(2), tf.constant(1), tf.constant(_NO_EXIF), tf.constant(0))
    at, last, exif_at, _ = tf.while_loop(goes_on, step, start)
    return at, tf.equal(last, 0), exif_at
