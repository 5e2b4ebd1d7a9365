"""Geometry of an image on its way to the network: resizing to a square, and turning upright."""

from typing import Literal

import tensorflow as tf

from components.images.formats import TRANSPOSED, UPRIGHT

Resize = Literal["stretch", "crop", "pad"]
# Orientations (EXIF 2.32, 4.6.4) that mirror an image to turn it upright, those of TRANSPOSED after rows and columns
# have been swapped.
_TOP_TO_BOTTOM, _LEFT_TO_RIGHT = (3, 4, 7, 8), (2, 3, 6, 7)


def resize_image(
    image: tf.Tensor, image_size: int, resize: Resize = "stretch", extent: tf.Tensor | None = None
) -> tf.Tensor:
    """Resizes an image to a square: bilinear, and with antialiasing where it shrinks.

    A pixel of the result is the weighted mean of all pixels below a triangle that is as wide as two pixels of the
    result, as in Pillow's `Image.resize`. The values are rounded to integers, so uint8 holds them without loss.

    Args:
        image: uint8 [height, width, 3].
        image_size: width and height of the result in pixels.
        resize: "stretch" changes the proportions; "crop" keeps the middle of the longer side; "pad" keeps the whole
            image, in the middle of black.
        extent: height and width to read, in pixels, float32 [2], where the last row or column is not a whole pixel;
            None for all of the image.
    Returns:
        float32 [image_size, image_size, 3], 0 to 255.
    """
    shape = tf.shape(image)
    if extent is None:
        extent = tf.cast(shape[:2], tf.float32)
    scale = {
        "stretch": lambda: image_size / extent,
        "crop": lambda: tf.fill([2], image_size / tf.reduce_min(extent)),
        "pad": lambda: tf.maximum(image_size / tf.reduce_max(extent), 1 / extent),  # of a thin line, a pixel stays
    }[resize]()
    margin = tf.zeros([2]) if resize == "stretch" else (image_size - scale * extent) / 2
    centres = (tf.range(image_size, dtype=tf.float32)[:, tf.newaxis] + 0.5 - margin) / scale  # in pixels of the image
    height, width = shape[0], shape[1]
    rows = _weigh(tf.cast(image, tf.float32), height, centres[:, 0], extent[0], scale[0])
    columns = tf.transpose(tf.reshape(rows, [image_size, width, 3]), [1, 0, 2])
    resized = tf.reshape(_weigh(columns, width, centres[:, 1], extent[1], scale[1]), [image_size, image_size, 3])
    return tf.round(tf.transpose(resized, [1, 0, 2]))


def _weigh(lines: tf.Tensor, length: tf.Tensor, centres: tf.Tensor, extent: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Computes weighted means of the lines of an image, as tf.image.resize(antialias=True) does along one axis.

    Its operation, ScaleAndTranslate, is none of TensorFlow Lite's. This one takes no longer.

    Args:
        lines: float32 [length, ...].
        length: number of lines.
        centres: centres of the triangles, float32 [number].
        extent: number of lines to read; a triangle whose centre lies outside gives 0.
        scale: lines of the result for each line of the image; below 1, the triangles are wider.
    Returns:
        float32 [number, values a line].
    """
    reach = tf.maximum(1 / scale, 1.0)
    taps = tf.range(tf.cast(tf.math.ceil(2 * reach), tf.int32) + 1)
    at = tf.cast(tf.math.ceil(centres - reach - 0.5), tf.int32)[:, tf.newaxis] + taps
    distance = tf.abs(tf.cast(at, tf.float32) + 0.5 - centres[:, tf.newaxis])
    weights = tf.where((at >= 0) & (at < length), tf.maximum(1 - distance / reach, 0), 0)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    weights = tf.where(((centres >= 0) & (centres <= extent))[:, tf.newaxis], weights, 0)
    number = tf.size(centres)
    target = tf.broadcast_to(tf.range(number)[:, tf.newaxis], tf.shape(at))
    places = tf.stack([target, tf.clip_by_value(at, 0, length - 1)], axis=-1)
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.cast(tf.reshape(places, [-1, 2]), tf.int64),
        a_values=tf.reshape(weights, [-1]),
        a_shape=tf.cast([number, length], tf.int64),
        b=tf.reshape(lines, [length, -1]),
    )


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors a square image by its EXIF orientation.

    Args:
        image: [side, side, channels].
        orientation: int32 scalar, 1 to 8.
    Returns:
        The image, of the same shape.
    """

    def is_among(orientations: tuple[int, ...]) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, orientations))

    def turn() -> tf.Tensor:
        turned = tf.cond(is_among(TRANSPOSED), lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        # The axes are constants: TensorFlow Lite's REVERSE_V2 crashes on an empty list of axes.
        flipped = tf.cond(is_among(_TOP_TO_BOTTOM), lambda: tf.reverse(turned, [0]), lambda: turned)
        return tf.cond(is_among(_LEFT_TO_RIGHT), lambda: tf.reverse(flipped, [1]), lambda: flipped)

    return tf.cond(orientation > UPRIGHT, turn, lambda: image)
