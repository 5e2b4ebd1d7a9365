"""Preprocessing: from an encoded image to ResNet50's input, and from a class name to its index.

There is one preprocessing graph. TFX's Transform traces `preprocessing_fn`; the Trainer reads through that
graph and the SavedModel carries it, so that training and serving cannot drift apart.
"""

from typing import TypedDict

import numpy as np
import tensorflow as tf
from keras.applications import resnet50

from components.images.decoding import decode_image, reject_oversized
from schema import features

# What resnet50.preprocess_input subtracts, in its order: blue, green, red (He et al. 2015, in Caffe).
BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)


class Config(TypedDict):
    """Configuration of the graph, as `custom_config` of TFX's Transform.

    Attributes:
        image_size: in pixels.
        max_megapixels: as for `reject_oversized`.
        classes: class names, in the order of the model's outputs.
    """

    image_size: int
    max_megapixels: float
    classes: list[str]


def resize_image(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes to a square, bilinear; uint8 [height, width, 3] to float32 [image_size, image_size, 3].

    Rounded to whole levels, as image libraries do; so they can be kept in a quarter of the space without loss.
    """
    return tf.round(tf.image.resize(image, [image_size, image_size], method="bilinear"))


def preprocess_images(encoded: tf.Tensor, image_size: int, max_megapixels: float) -> tf.Tensor:
    """Encoded images (of a GIF the first frame) to what ResNet50 was trained on.

    Args:
        encoded: string [batch].
        image_size: in pixels.
        max_megapixels: as for `reject_oversized`.
    Returns:
        float32 [batch, image_size, image_size, 3].
    Raises:
        tf.errors.InvalidArgumentError: if one is no image, or too large.
    """
    resized = tf.map_fn(
        lambda image: resize_image(decode_image(reject_oversized(image, max_megapixels)), image_size),
        encoded,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
    )
    return resnet50.preprocess_input(resized)


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """The grey levels behind preprocessed pixels; float32 [..., 3] to uint8 [..., 3], blue, green, red."""
    return tf.cast(tf.round(pixels + BGR_MEANS), tf.uint8)


def from_uint8(levels: tf.Tensor) -> tf.Tensor:
    """The inverse of `to_uint8`, to the bit; uint8 or float32 [..., 3] to float32 [..., 3]."""
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


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: Config) -> dict[str, tf.Tensor]:
    """What TFX's Transform traces.

    Args:
        inputs: raw features by name, string [batch, 1].
        custom_config: what the graph is to hold.
    Returns:
        `pixels` float32 [batch, size, size, 3] and `label_index` int64 [batch, 1].
    """
    image_size, max_megapixels = custom_config["image_size"], custom_config["max_megapixels"]
    return {
        features.PIXELS: preprocess_images(inputs[features.IMAGE][:, 0], image_size, max_megapixels),
        features.LABEL_INDEX: index_labels(inputs[features.LABEL][:, 0], custom_config["classes"])[:, tf.newaxis],
    }
