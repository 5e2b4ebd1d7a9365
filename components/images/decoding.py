"""Decodes images, by the same operations in ingest, in training and in the served model.

All of it is stock TensorFlow ops that can be traced; what serving refuses is refused here.
"""

import tensorflow as tf

from components.images import jpeg_header, png_texts
from components.images.formats import BMP, GIF, JPEG, PNG, READABLE
from components.images.gif_frame import keep_first_frame

_HEADER = 32  # bytes; all that the sizes below need


def measure_image(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds what of an image would be decoded, and reads from its header how large that is, without decoding it.

    A GIF is cut off behind its first frame, and the size of that frame written into its header: TensorFlow would
    decode all frames to drop all but one, and makes room for the largest, whatever the header claims.

    Args:
        encoded: string scalar: JPEG, PNG, GIF or BMP.
    Returns:
        The same, string scalar, and int64 [2], width and height in pixels; of what is no such image, anything.
    Raises:
        tf.errors.InvalidArgumentError: if the header of a JPEG is broken, or too long; if a JPEG has too many scans, or
            a PNG too many compressed texts.
    """

    def measure_other() -> tuple[tf.Tensor, tf.Tensor]:
        still = tf.cond(begins_with(encoded, GIF), lambda: keep_first_frame(encoded), lambda: encoded)
        excess = tf.cond(begins_with(encoded, PNG), lambda: png_texts.describe_excess(encoded), lambda: "0")
        return still, _read_size(still) + tf.strings.to_number(excess, tf.int64)  # raises the excess if it is no number

    return tf.cond(begins_with(encoded, JPEG), lambda: (encoded, jpeg_header.read_size(encoded)), measure_other)


def _read_size(encoded: tf.Tensor) -> tf.Tensor:
    """Width and height of a PNG, GIF or BMP; string scalar to int64 [2]."""
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER), tf.int64)

    def integers(start: int, stop: int, scale: list[int]) -> tf.Tensor:
        return tf.reduce_sum(tf.reshape(header[start:stop], [2, len(scale)]) * scale, axis=1)

    big_endian = [1 << 24, 1 << 16, 1 << 8, 1]
    bitmap = integers(18, 26, big_endian[::-1])  # of the DIB header; a negative height is stored from the top down
    bitmap = tf.where(bitmap < 1 << 31, bitmap, (1 << 32) - bitmap)
    size = tf.where(begins_with(encoded, BMP), bitmap, integers(6, 10, [1, 1 << 8]))  # GIF's screen
    return tf.where(begins_with(encoded, PNG), integers(16, 24, big_endian), size)  # PNG's IHDR


def begins_with(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether files begin with some bytes; string [...] to bool [...]."""
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF or BMP. EXIF orientation is ignored.

    Args:
        encoded: string scalar.
    Returns:
        uint8 [height, width, 3].
    Raises:
        tf.errors.InvalidArgumentError: if it is no such image.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return tf.cond(begins_with(encoded, BMP), lambda: _look_up(image, encoded), lambda: image)


def _look_up(image: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """The colours of a BMP; if it has a palette, TensorFlow gives the positions in that. As `decode_image` returns."""
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER), tf.int32)

    def look_up() -> tf.Tensor:
        entries = tf.strings.substr(encoded, 14 + header[14], 4 * 256)
        palette = tf.reshape(tf.io.decode_raw(entries, tf.uint8, fixed_length=4 * 256), [256, 4])
        return tf.gather(palette[:, 2::-1], tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.equal(header[28], 8), look_up, lambda: image)  # bits a pixel


def fits_limit(size: tf.Tensor, max_megapixels: float | tf.Tensor) -> tf.Tensor:
    """Whether width and height, int64 [2], are no more than so many millions of pixels; bool scalar."""
    return tf.cast(tf.reduce_prod(size), tf.float64) <= max_megapixels * 1e6


def reject_oversized(encoded: tf.Tensor, max_megapixels: float) -> tf.Tensor:
    """Lets an image through whose header claims a bearable size; decoding a small file may take gigabytes.

    Only of the formats whose size it can read: a newer TensorFlow would decode WebP and JPEG XL as well.

    Args:
        encoded: string scalar.
        max_megapixels: the most that an image may have, in millions of pixels.
    Returns:
        What `measure_image` leaves of it; string scalar.
    Raises:
        tf.errors.InvalidArgumentError: if it is larger, or of another format.
    """
    still, size = measure_image(encoded)
    known = tf.reduce_any([begins_with(encoded, magic) for magic in READABLE])
    fits = fits_limit(size, max_megapixels)
    too_large = f"an image of more than {max_megapixels:g} megapixels"
    verdict = tf.where(known, tf.where(fits, "0", too_large), f"none of {', '.join(READABLE.values())}")
    # Raises the verdict if it is no number. An Assert would do so as well where nobody asks for the image (when the
    # Evaluator wants a label), and keeps TFX from tracing the graph in place: 9 seconds.
    return tf.where(tf.equal(tf.strings.to_number(verdict), 0), still, "")
