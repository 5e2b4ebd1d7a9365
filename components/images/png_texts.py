"""Compressed text in a PNG: libpng unfolds each such chunk while it decodes, to as much as 8,000,000 bytes."""

import tensorflow as tf

from components.images.byte_search import find_pair

MAX_TEXTS = 16  # chunks: 130 MB and 0.6 s; image editors write one to three
_HARMLESS = 100_000  # bytes: deflate unfolds none to more than 1,032 (zlib's technical notes), so to 103 MB in all


def describe_excess(png: tf.Tensor) -> tf.Tensor:
    """Says why a PNG is not decoded.

    A chunk is counted wherever its name stands, within another chunk as well: four given bytes come by chance once in
    4 GB.

    Args:
        png: string scalar.
    Returns:
        String scalar; "0" of a PNG that can be decoded.
    """

    def search() -> tf.Tensor:
        at = find_pair(png, b"TX")
        return tf.cond(tf.size(at) > MAX_TEXTS, lambda: describe(at), lambda: "0")

    def describe(at: tf.Tensor) -> tf.Tensor:
        # zTXt and iTXt (PNG specification, 11.3.3); tEXt is not compressed, and of iCCP libpng unfolds one alone.
        content = tf.io.decode_raw(tf.strings.join(["\0", png, "\0\0"]), tf.uint8)  # a place further each
        before, behind = tf.gather(content, at), tf.gather(content, at + 3)
        texts = (tf.equal(before, ord("z")) | tf.equal(before, ord("i"))) & tf.equal(behind, ord("t"))
        number = tf.reduce_sum(tf.cast(texts, tf.int32))
        reason = [
            "a PNG with ",
            tf.strings.as_string(number),
            f" compressed text chunks ({MAX_TEXTS} are read at most)",
        ]
        return tf.where(number > MAX_TEXTS, tf.strings.join(reason), "0")

    return tf.cond(tf.strings.length(png) > _HARMLESS, search, lambda: "0")
