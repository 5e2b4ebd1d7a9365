"""Decoding of images: one set of operations for ingest, training and the served model.

All operations are stock TensorFlow ops that can be traced. So ingest rejects exactly the images that serving rejects.
"""

import tensorflow as tf

from components.images import jpeg_header, png_texts
from components.images.formats import BMP, GIF, JPEG, PNG, READABLE
from components.images.gif_frame import keep_first_frame

_HEADER = 32  # bytes; the sizes of PNG, GIF and BMP lie within


def measure_image(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads width and height from the header of an image, without decoding the image; cuts a GIF to its first frame.

    The cut GIF has the size of its first frame in its header. TensorFlow would decode all frames and keep one, and it
    allocates memory for the largest frame, whatever the header says.

    Args:
        encoded: string scalar: JPEG, PNG, GIF or BMP.
    Returns:
        The image, string scalar, and its width and height in pixels, int64 [2]. Other formats have an undefined size.
    Raises:
        tf.errors.InvalidArgumentError: if the header of a JPEG is broken or too long, if a JPEG has too many scans, or
            if a PNG has too many compressed texts.
    """

    def measure_other() -> tuple[tf.Tensor, tf.Tensor]:
        still = tf.cond(_begins_with(encoded, GIF), lambda: keep_first_frame(encoded), lambda: encoded)
        excess = tf.cond(_begins_with(encoded, PNG), lambda: png_texts.describe_excess(encoded), lambda: "0")
        return still, _read_size(still) + tf.strings.to_number(excess, tf.int64)  # raises the excess if it is no number

    return tf.cond(_begins_with(encoded, JPEG), lambda: (encoded, jpeg_header.read_size(encoded)), measure_other)


def _read_size(encoded: tf.Tensor) -> tf.Tensor:
    """Reads width and height of a PNG, GIF or BMP; string scalar to int64 [2], in pixels."""
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER), tf.int64)

    def integers(start: int, stop: int, scale: list[int]) -> tf.Tensor:
        return tf.reduce_sum(tf.reshape(header[start:stop], [2, len(scale)]) * scale, axis=1)

    big_endian = [1 << 24, 1 << 16, 1 << 8, 1]
    bitmap = integers(18, 26, big_endian[::-1])  # DIB header; a negative height means rows from the top down
    bitmap = tf.where(bitmap < 1 << 31, bitmap, (1 << 32) - bitmap)
    size = tf.where(_begins_with(encoded, BMP), bitmap, integers(6, 10, [1, 1 << 8]))  # GIF: logical screen descriptor
    return tf.where(_begins_with(encoded, PNG), integers(16, 24, big_endian), size)  # PNG: IHDR


def _begins_with(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Compares the first bytes of files with `magic`; string [...] to bool [...]."""
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF or BMP to RGB. EXIF orientation is ignored.

    Args:
        encoded: string scalar.
    Returns:
        uint8 [height, width, 3].
    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no image of these formats.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return tf.cond(_begins_with(encoded, BMP), lambda: _look_up(image, encoded), lambda: image)


def _look_up(image: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Replaces the palette indices that TensorFlow decodes from a BMP by colours; to uint8 [height, width, 3]."""
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER), tf.int32)

    def look_up() -> tf.Tensor:
        entries = tf.strings.substr(encoded, 14 + header[14], 4 * 256)
        palette = tf.reshape(tf.io.decode_raw(entries, tf.uint8, fixed_length=4 * 256), [256, 4])
        return tf.gather(palette[:, 2::-1], tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.equal(header[28], 8), look_up, lambda: image)  # 8 bits a pixel: a palette


def fits_limit(size: tf.Tensor, max_megapixels: float | tf.Tensor) -> tf.Tensor:
    """Tests that width times height, int64 [2], is at most `max_megapixels` millions of pixels; bool scalar."""
    return tf.cast(tf.reduce_prod(size), tf.float64) <= max_megapixels * 1e6


def reject_oversized(encoded: tf.Tensor, max_megapixels: float) -> tf.Tensor:
    """Raises an error for an image of too many pixels, before the image is decoded.

    A small file may take gigabytes to decode. Formats whose size `measure_image` cannot read are rejected as well: a
    newer TensorFlow would decode WebP and JPEG XL.

    Args:
        encoded: string scalar.
        max_megapixels: upper limit of width times height, in millions of pixels.
    Returns:
        The image, string scalar, a GIF cut to its first frame.
    Raises:
        tf.errors.InvalidArgumentError: if the image is larger, or of another format.
    """
    still, size = measure_image(encoded)
    known = tf.reduce_any([_begins_with(encoded, magic) for magic in READABLE])
    fits = fits_limit(size, max_megapixels)
    too_large = f"an image of more than {max_megapixels:g} megapixels"
    verdict = tf.where(known, tf.where(fits, "0", too_large), f"none of {', '.join(READABLE.values())}")
    # to_number raises the verdict as its error text if the verdict is no number. An Assert would also run where the
    # image is not needed (the Evaluator reads only labels), and keeps TFX from tracing the graph in place: 9 seconds.
    return tf.where(tf.equal(tf.strings.to_number(verdict), 0), still, "")
