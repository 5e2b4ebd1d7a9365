"""Limit on the scans of a JPEG. A scan may be ten bytes long, and libjpeg passes over all pixels for each scan."""

import tensorflow as tf

from components.images.byte_search import find_pair

# A pass over the pixels costs 0.1 to 0.7 ns a pixel. Progressive photographs have 5 to 12 scans, baseline ones 1 to 4.
MAX_SCANS = 16  # allowed for an image of any size
_PIXELS, _PIXELS_A_BYTE = 1e9, 100  # pixels that all passes may cover; so small images may have more scans
_BYTES_A_SCAN = 10  # the smallest scan: a marker and a header of one component (ITU-T T.81, B.2.3)
_START, _END = 0xDA, 0xD9
_FIRST_CODE = 0xC0  # codes below are reserved; libjpeg stops at them
_WITHOUT_LENGTH = range(0xD0, 0xD9)  # RST and SOI


def describe_excess(jpeg: tf.Tensor, frame: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Describes the excess of scans of a JPEG that is not to be decoded.

    The walk through the segments runs only if the bytes of a scan marker occur too often. They also occur in a preview
    or in a film behind a photograph. The search for these bytes runs only where the file is large enough for the scans.

    Args:
        jpeg: string scalar.
        frame: int32 scalar, the offset of the frame header.
        size: int64 [2], width and height in pixels.
    Returns:
        String scalar; "0" if the JPEG may be decoded.
    """
    length = tf.cast(tf.strings.length(jpeg), tf.float64)
    pixels = tf.cast(tf.reduce_prod(size), tf.float64)

    def search() -> tf.Tensor:
        most = tf.cast(tf.maximum((_PIXELS + _PIXELS_A_BYTE * length) / pixels, MAX_SCANS), tf.int32)
        seem = tf.size(find_pair(jpeg, bytes([0xFF, _START])))
        return tf.cond(seem > most, lambda: describe(most), lambda: "0")

    def describe(most: tf.Tensor) -> tf.Tensor:
        scans = count_scans(jpeg, frame)
        reason = ["a JPEG with ", tf.strings.as_string(scans), " scans (of its size, ", tf.strings.as_string(most)]
        return tf.where(scans > most, tf.strings.join([*reason, " are read at most)"]), "0")

    return tf.cond(length * pixels > _PIXELS * _BYTES_A_SCAN, search, lambda: "0")


def count_scans(jpeg: tf.Tensor, frame: tf.Tensor) -> tf.Tensor:
    """Counts the scans from the frame header to the end of the image, as libjpeg reads them.

    All marker-like byte pairs are found at once, and each points to the first one behind its segment. Pointer jumping,
    which doubles the distance each time, adds up the scans on the way in log2(number of markers) steps.

    Args:
        jpeg: string scalar.
        frame: int32 scalar, the offset of the frame header.
    Returns:
        int32 scalar, the number of scans.
    """
    content = tf.io.decode_raw(tf.strings.substr(jpeg, frame, tf.strings.length(jpeg) - frame), tf.uint8)
    behind = content[1:]
    with_length = (behind >= _FIRST_CODE) & (behind < 0xFF) & ((behind < _WITHOUT_LENGTH[0]) | (behind >= _END))
    # Not tf.equal: TensorFlow Lite takes uint8 for quantized numbers, and its EQUAL of those ends the process.
    markers = (content[:-1] >= 0xFF) & with_length
    places = tf.cast(tf.where(markers)[:, 0], tf.int32)
    code = tf.cast(tf.gather(behind, places), tf.int32)
    padded = tf.cast(tf.concat([content, [0, 0, 0, 0]], 0), tf.int32)
    segment = 256 * tf.gather(padded, places + 2) + tf.gather(padded, places + 3)
    number = tf.size(places)
    # Markers before each byte; tf.searchsorted would do as well, but TensorFlow Lite's flex delegate has no LowerBound.
    before = tf.concat([[0], tf.cumsum(tf.cast(markers, tf.int32))], 0)
    following = tf.gather(before, tf.minimum(places + 2 + segment, tf.size(behind)))
    # The last entry, behind all markers, points to itself; the end of the image points to this entry.
    target = tf.concat([tf.where(tf.equal(code, _END), number, following), [number]], 0)
    scans = tf.concat([tf.cast(tf.equal(code, _START), tf.int32), [0]], 0)

    def go_twice_as_far(done: tf.Tensor, scans: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return 2 * done, scans + tf.gather(scans, target), tf.gather(target, target)

    start = [tf.constant(1), scans, target]
    return tf.while_loop(lambda done, *_: done <= number, go_twice_as_far, start)[1][0]
