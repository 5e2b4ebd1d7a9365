"""Preprocessing: from an encoded image to ResNet50's input, and from a class name to its index.

There is one preprocessing graph. TFX's Transform traces `preprocessing_fn`; the Trainer reads through that
graph and the SavedModel carries it, so that training and serving cannot drift apart.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from keras.applications import resnet50

from schema import features

# What tf.io.decode_image reads on either stack, by the first bytes of the file. A newer TensorFlow reads WebP
# as well; refusing it in ingest on both keeps a model servable wherever it was trained.
JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
READABLE = {JPEG: "JPEG", PNG: "PNG", GIF: "GIF", BMP: "BMP"}


# What resnet50.preprocess_input subtracts, in its order: blue, green, red (He et al. 2015, in Caffe).
BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)
_HEADER = 32  # bytes; all that the sizes below need


def read_sizes(encoded: tf.Tensor) -> tf.Tensor:
    """Reads the sizes of images from their headers, without decoding one.

    Args:
        encoded: string [batch]: JPEG, PNG, GIF or BMP.
    Returns:
        int64 [batch, 2]: width and height in pixels; of what is no such image, anything.
    Raises:
        tf.errors.InvalidArgumentError: if the header of a JPEG is broken.
    """
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER), tf.int64)

    def integers(start: int, stop: int, scale: list[int]) -> tf.Tensor:
        return tf.reduce_sum(tf.reshape(header[:, start:stop], [-1, 2, len(scale)]) * scale, axis=2)

    big_endian = [1 << 24, 1 << 16, 1 << 8, 1]
    bitmap = integers(18, 26, big_endian[::-1])  # of the DIB header; a negative height is stored from the top down
    bitmap = tf.where(bitmap < 1 << 31, bitmap, (1 << 32) - bitmap)
    others = tf.where(begins_with(encoded, BMP)[:, tf.newaxis], bitmap, integers(6, 10, [1, 1 << 8]))  # GIF's screen
    others = tf.where(begins_with(encoded, PNG)[:, tf.newaxis], integers(16, 24, big_endian), others)  # PNG's IHDR
    jpegs = tf.where(begins_with(encoded, JPEG))[:, 0]
    shapes = tf.map_fn(
        lambda index: tf.io.extract_jpeg_shape(encoded[index], output_type=tf.int64)[1::-1],
        jpegs,
        fn_output_signature=tf.TensorSpec([2], tf.int64),
    )
    return tf.tensor_scatter_nd_update(others, jpegs[:, tf.newaxis], shapes)


def begins_with(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether files begin with some bytes; string [batch] to bool [batch]."""
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (its first frame) or BMP. EXIF orientation is ignored.

    Args:
        encoded: string scalar.
    Returns:
        uint8 [height, width, 3].
    Raises:
        tf.errors.InvalidArgumentError: if it is no such image.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def refuse_bombs(encoded: tf.Tensor, max_megapixels: float) -> tf.Tensor:
    """Lets images through whose headers claim a bearable size; decoding a small file may take gigabytes.

    Args:
        encoded: string [batch].
        max_megapixels: the most that an image may have, in millions of pixels.
    Returns:
        The same.
    Raises:
        tf.errors.InvalidArgumentError: if one is larger, or not even a header.
    """
    largest = tf.reduce_max(tf.reduce_prod(read_sizes(encoded), axis=1))
    fits = tf.cast(largest, tf.float64) <= max_megapixels * 1e6
    message = f"an image has more than {max_megapixels:g} megapixels; its width x height is"
    # As a dependency of the data: Transform's graph is cut to what its outputs need.
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, largest])]):
        return tf.identity(encoded)


def resize_image(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes to a square, bilinear; uint8 [height, width, 3] to float32 [image_size, image_size, 3].

    Rounded to whole levels, as image libraries do; so they can be kept in a quarter of the space without loss.
    """
    return tf.round(tf.image.resize(image, [image_size, image_size], method="bilinear"))


def preprocess_images(encoded: tf.Tensor, image_size: int, max_megapixels: float) -> tf.Tensor:
    """Encoded images to what ResNet50 was trained on; string [batch] to float32 [batch, size, size, 3]."""
    resized = tf.map_fn(
        lambda image: resize_image(decode_image(image), image_size),
        refuse_bombs(encoded, max_megapixels),
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
    )
    return resnet50.preprocess_input(resized)


def to_levels(pixels: tf.Tensor) -> tf.Tensor:
    """The grey levels behind preprocessed pixels; float32 [..., 3] to uint8 [..., 3], blue, green, red."""
    return tf.cast(tf.round(pixels + BGR_MEANS), tf.uint8)


def from_levels(levels: tf.Tensor) -> tf.Tensor:
    """The inverse of `to_levels`, to the bit; uint8 or float32 [..., 3] to float32 [..., 3]."""
    return tf.cast(levels, tf.float32) - BGR_MEANS


def index_labels(labels: tf.Tensor, classes: list[str]) -> tf.Tensor:
    """Class names to positions in the class list; -1 for a name that is not in it.

    The list is given, not learnt: an analyzer orders a vocabulary by frequency, and the order of the classes
    would flip between two runs.

    Args:
        labels: string [batch].
        classes: class names, in the order of the model's outputs.
    Returns:
        int64 [batch].
    """
    matches = tf.equal(labels[:, tf.newaxis], tf.constant(classes)[tf.newaxis, :])
    return tf.where(tf.reduce_any(matches, axis=1), tf.argmax(matches, axis=1), -1)


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """What TFX's Transform traces.

    Args:
        inputs: raw features by name, string [batch, 1].
        custom_config: `image_size` in pixels, `max_megapixels` and `classes`.
    Returns:
        `pixels` float32 [batch, size, size, 3] and `label_index` int64 [batch, 1].
    """
    image_size, max_megapixels = custom_config["image_size"], custom_config["max_megapixels"]
    return {
        features.PIXELS: preprocess_images(inputs[features.IMAGE][:, 0], image_size, max_megapixels),
        features.LABEL_INDEX: index_labels(inputs[features.LABEL][:, 0], custom_config["classes"])[:, tf.newaxis],
    }
