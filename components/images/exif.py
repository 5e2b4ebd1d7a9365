"""EXIF orientation from an EXIF block, in stock TensorFlow ops (EXIF 2.32, 4.6.2 to 4.6.4; TIFF 6.0, section 2).

In a block, the first entry of the orientation counts. A block that breaks a rule counts as upright, as in browsers: an
image is never rejected for its metadata. `components.images.orientation` has the same rules in plain Python.
"""

import tensorflow as tf

from components.images.formats import EXIF_ENTRY, EXIF_ORIENTATION, EXIF_SHORT, UPRIGHT


def read_orientation(exif: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from an EXIF block, in time linear in its bytes.

    Args:
        exif: string scalar; begins with the header of a TIFF file.
    Returns:
        int32 scalar, 1 to 8; UPRIGHT if the block has no orientation or is malformed.
    """
    length = tf.cast(tf.strings.length(exif), tf.int64)
    order = tf.strings.substr(exif, 0, 4)
    is_little = tf.equal(order, b"II*\0")
    known = is_little | tf.equal(order, b"MM\0*")
    header = _decode(exif, is_little, 8)
    at = _join(header[2], header[3], is_little)  # offset of the first directory
    at = tf.where(known, tf.minimum(at, length), length)
    number = _decode(tf.strings.substr(exif, at, 2), is_little, 2)[0]
    number = tf.minimum(number, (length - at - 2) // EXIF_ENTRY)  # entries behind the end of the block are missing
    content = tf.strings.substr(exif, tf.minimum(at + 2, length), tf.maximum(number, 0) * EXIF_ENTRY)
    tag, kind, first, second, value, _ = tf.unstack(
        tf.reshape(_decode(content, is_little), [-1, EXIF_ENTRY // 2]), axis=1
    )
    valid = tf.equal(kind, EXIF_SHORT) & tf.equal(_join(first, second, is_little), 1) & (value >= 1) & (value <= 8)
    values = tf.boolean_mask(tf.where(valid, value, UPRIGHT), tf.equal(tag, EXIF_ORIENTATION))
    return tf.cast(tf.concat([values, [UPRIGHT]], 0)[0], tf.int32)


def _decode(content: tf.Tensor, is_little: tf.Tensor, size: int | None = None) -> tf.Tensor:
    """Decodes 16-bit numbers of either byte order; string scalar to int64 [numbers]. Adds zeros up to `size` bytes."""
    little, big = (
        tf.io.decode_raw(content, tf.uint16, little_endian=little, fixed_length=size) for little in (True, False)
    )
    return tf.cast(tf.where(is_little, little, big), tf.int64)


def _join(first: tf.Tensor, second: tf.Tensor, is_little: tf.Tensor) -> tf.Tensor:
    """Joins two 16-bit numbers, in the order of the file, to a 32-bit number."""
    return tf.where(is_little, first + 65536 * second, 65536 * first + second)
