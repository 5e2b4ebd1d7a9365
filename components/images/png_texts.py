"""Limit on the compressed text chunks of a PNG. libpng decompresses each to up to 8,000,000 bytes while it decodes."""

import tensorflow as tf

from components.images.byte_search import find_pair

MAX_TEXTS = 16  # chunks: 130 MB and 0.6 s; image editors write one to three
_HARMLESS = 100_000  # bytes of a file: deflate expands by 1,032 at most (zlib's technical notes), so to 103 MB


def describe_excess(png: tf.Tensor) -> tf.Tensor:
    """Describes the excess of compressed texts of a PNG that is not to be decoded.

    The names of the chunks are counted anywhere in the file, even inside other chunks: four given bytes occur by chance
    once in 4 GB.

    Args:
        png: string scalar.
    Returns:
        String scalar; "0" if the PNG may be decoded.
    """

    def search() -> tf.Tensor:
        at = find_pair(png, b"TX")
        return tf.cond(tf.size(at) > MAX_TEXTS, lambda: describe(at), lambda: "0")

    def describe(at: tf.Tensor) -> tf.Tensor:
        # zTXt and iTXt (PNG specification, 11.3.3); tEXt is not compressed, and libpng decompresses only one iCCP.
        content = tf.io.decode_raw(tf.strings.join(["\0", png, "\0\0"]), tf.uint8)  # shifts each offset by one
        # As int32: TensorFlow Lite takes uint8 for quantized numbers, and its EQUAL of those ends the process.
        before, behind = (tf.cast(tf.gather(content, places), tf.int32) for places in (at, at + 3))
        texts = (tf.equal(before, ord("z")) | tf.equal(before, ord("i"))) & tf.equal(behind, ord("t"))
        number = tf.reduce_sum(tf.cast(texts, tf.int32))
        reason = [
            "a PNG with ",
            tf.strings.as_string(number),
            f" compressed text chunks ({MAX_TEXTS} are read at most)",
        ]
        return tf.where(number > MAX_TEXTS, tf.strings.join(reason), "0")

    return tf.cond(tf.strings.length(png) > _HARMLESS, search, lambda: "0")
