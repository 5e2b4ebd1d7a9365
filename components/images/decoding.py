"""Decoding of images: one set of operations for ingest, training and the served model.

All operations are stock TensorFlow ops that can be traced. So ingest rejects exactly the images that serving rejects.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from components.images import exif, jpeg_header, png_exif, png_texts
from components.images.formats import BMP, GIF, JPEG, PNG, READABLE, UPRIGHT
from components.images.gif_frame import keep_first_frame

_HEADER = 32  # bytes; the sizes of PNG, GIF and BMP lie within
RATIOS = (1, 2, 4, 8)  # by which libjpeg can reduce an image while it decodes


class Header(NamedTuple):
    """Image with what its header says.

    Attributes:
        encoded: the image, string scalar; a GIF cut to its first frame.
        size: width and height in pixels, as stored, int64 [2].
        orientation: EXIF orientation, int32 scalar, 1 to 8; 1 is upright.
    """

    encoded: tf.Tensor
    size: tf.Tensor
    orientation: tf.Tensor


def read_header(encoded: tf.Tensor) -> Header:
    """Reads size and orientation from the header of an image, without decoding the image; cuts a GIF.

    The cut GIF has the size of its first frame in its header. TensorFlow would decode all frames and keep one, and it
    allocates memory for the largest frame, whatever the header says.

    Args:
        encoded: string scalar: JPEG, PNG, GIF or BMP. Other formats have an undefined size.
    Raises:
        tf.errors.InvalidArgumentError: if the header of a JPEG is broken or too long, if a JPEG has too many scans, or
            if a PNG has too many compressed texts.
    """

    def read_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return encoded, *jpeg_header.read_header(encoded)

    def read_png() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        excess = tf.strings.to_number(
            png_texts.describe_excess(encoded), tf.int64
        )  # raises the text if it is no number
        return encoded, _read_size(encoded) + excess, exif.read_orientation(png_exif.find_exif(encoded))

    def read_other() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        still = tf.cond(_begins_with(encoded, GIF), lambda: keep_first_frame(encoded), lambda: encoded)
        return still, _read_size(still), tf.constant(UPRIGHT)

    def read_all_but_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return tf.cond(_begins_with(encoded, PNG), read_png, read_other)

    return Header(*tf.cond(_begins_with(encoded, JPEG), read_jpeg, read_all_but_jpeg))


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


def decode_image(encoded: tf.Tensor, octave: tf.Tensor | int = 0) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF or BMP to RGB, as stored; the orientation is not applied.

    Args:
        encoded: string scalar.
        octave: int32 scalar, index in RATIOS. libjpeg decodes a JPEG at 1 / RATIOS[octave] of its size, rounded up:
            it computes fewer pixels from the same coefficients. Other formats are decoded at their size.
    Returns:
        uint8 [height, width, 3].
    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no image of these formats.
    """

    def decode_other() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return tf.cond(_begins_with(encoded, BMP), lambda: _look_up(image, encoded), lambda: image)

    def decode_jpeg(first: int = 0) -> tf.Tensor:
        """Decodes at the ratio of the octave, one of those from `first` on."""
        image = functools.partial(tf.io.decode_jpeg, encoded, channels=3, ratio=RATIOS[first])
        if first + 1 == len(RATIOS):
            return image()
        # Not tf.switch_case, which TensorFlow Lite cannot convert.
        return tf.cond(tf.equal(octave, first), image, lambda: decode_jpeg(first + 1))

    return tf.cond(_begins_with(encoded, JPEG), decode_jpeg, decode_other)


def choose_octave(header: Header, needed: int, longer: bool = False) -> tf.Tensor:
    """Chooses how far to reduce a JPEG, so that its shorter or its longer side keeps the needed pixels.

    Args:
        header: header of an image of any format.
        needed: pixels that the side must have after decoding.
        longer: True to look at the longer side, False to look at the shorter side.
    Returns:
        int32 scalar, index in RATIOS; 0 for other formats than JPEG.
    """
    side = tf.reduce_max(header.size) if longer else tf.reduce_min(header.size)
    octave = tf.reduce_sum(tf.cast(side >= [needed * ratio for ratio in RATIOS[1:]], tf.int32))
    return tf.where(_begins_with(header.encoded, JPEG), octave, 0)


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


def reject_oversized(encoded: tf.Tensor, max_megapixels: float) -> Header:
    """Raises an error for an image of too many pixels, before the image is decoded.

    A small file may take gigabytes to decode. The limit is on the stored pixels, also where a JPEG would be reduced
    while it is decoded. Formats whose size `read_header` cannot read are rejected as well: a newer TensorFlow would
    decode WebP and JPEG XL.

    Args:
        encoded: string scalar.
        max_megapixels: upper limit of width times height, in millions of pixels.
    Returns:
        The header, with the image.
    Raises:
        tf.errors.InvalidArgumentError: if the image is larger, or of another format.
    """
    header = read_header(encoded)
    known = tf.reduce_any([_begins_with(encoded, magic) for magic in READABLE])
    fits = fits_limit(header.size, max_megapixels)
    too_large = f"an image of more than {max_megapixels:g} megapixels"
    verdict = tf.where(known, tf.where(fits, "0", too_large), f"none of {', '.join(READABLE.values())}")
    # to_number raises the verdict as its error text if the verdict is no number. An Assert would also run where the
    # image is not needed (the Evaluator reads only labels), and keeps TFX from tracing the graph in place: 9 seconds.
    return header._replace(encoded=tf.where(tf.equal(tf.strings.to_number(verdict), 0), header.encoded, ""))
