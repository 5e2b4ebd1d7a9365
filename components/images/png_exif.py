"""EXIF block of a PNG, in stock TensorFlow ops (PNG specification, third edition, 5.3 and 11.3.5.3)."""

import tensorflow as tf

from components.images.formats import MAX_CHUNKS

_FIRST = 33  # offset of the first chunk behind the header
_AROUND = 12  # bytes of a chunk besides its content: length, name and checksum
# Names of the chunk to find, and of the pixels, behind which no decoder looks before it decodes.
_EXIF, _PIXELS = (int.from_bytes(name, "big") for name in (b"eXIf", b"IDAT"))


def find_exif(png: tf.Tensor) -> tf.Tensor:
    """Finds the EXIF block before the pixels of a PNG.

    Args:
        png: string scalar; begins with the signature of PNG.
    Returns:
        String scalar; "" if the first MAX_CHUNKS chunks are neither EXIF nor pixels, or pixels come first.
    """
    end = tf.cast(tf.strings.length(png), tf.int64)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads the length and the name of the chunk at an offset, as numbers."""
        head = tf.io.decode_raw(tf.strings.substr(png, at, 8), tf.uint16, little_endian=False, fixed_length=8)
        halves = tf.cast(head, tf.int64)
        return 65536 * halves[0] + halves[1], 65536 * halves[2] + halves[3]

    def step(at: tf.Tensor, length: tf.Tensor, name: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        at = tf.minimum(at + length + _AROUND, end)
        return at, *read(at), count + 1

    def goes_on(at: tf.Tensor, length: tf.Tensor, name: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return ~(tf.equal(name, _EXIF) | tf.equal(name, _PIXELS)) & (at < end) & (count < MAX_CHUNKS)

    first = tf.minimum(tf.constant(_FIRST, tf.int64), end)
    at, length, name, _ = tf.while_loop(goes_on, step, (first, *read(first), tf.constant(1)))
    return tf.strings.substr(png, tf.minimum(at + 8, end), tf.where(tf.equal(name, _EXIF), length, 0))
