"""Preprocessing of an encoded image to ResNet50's input, and of a class name to its index.

TFX's Transform traces `preprocessing_fn` to the only preprocessing graph. The Trainer reads images through that graph,
and the SavedModel contains it, so training and serving have the same preprocessing.
"""

from typing import TypedDict

import numpy as np
import tensorflow as tf
from keras.applications import resnet50

from components.images.decoding import decode_image, reject_oversized
from schema import features

# Means that resnet50.preprocess_input subtracts, in its order: blue, green, red (He et al. 2015, in Caffe).
BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)


class Config(TypedDict):
    """Configuration of the graph, as `custom_config` of TFX's Transform.

    Attributes:
        image_size: width and height of the network's input, in pixels.
        max_megapixels: upper limit of an image's size, as for `reject_oversized`.
        classes: class names, in the order of the model's outputs.
    """

    image_size: int
    max_megapixels: float
    classes: list[str]


def resize_image(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes an image to a square, bilinear; uint8 [height, width, 3] to float32 [image_size, image_size, 3].

    The values are rounded to integers, as image libraries do; so uint8 holds them without loss.
    """
    return tf.round(tf.image.resize(image, [image_size, image_size], method="bilinear"))


def preprocess_images(encoded: tf.Tensor, image_size: int, max_megapixels: float) -> tf.Tensor:
    """Decodes images (of a GIF the first frame), resizes them, and converts them to ResNet50's input.

    Args:
        encoded: string [batch].
        image_size: width and height of the output, in pixels.
        max_megapixels: upper limit of an image's size, as for `reject_oversized`.
    Returns:
        float32 [batch, image_size, image_size, 3]; blue, green, red minus BGR_MEANS.
    Raises:
        tf.errors.InvalidArgumentError: if a string is no image, or the image is too large.
    """
    resized = tf.map_fn(
        lambda image: resize_image(decode_image(reject_oversized(image, max_megapixels)), image_size),
        encoded,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
    )
    return resnet50.preprocess_input(resized)


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Converts the network's input back to uint8 pixels; float32 [..., 3] to uint8 [..., 3], blue, green, red."""
    return tf.cast(tf.round(pixels + BGR_MEANS), tf.uint8)


def from_uint8(images: tf.Tensor) -> tf.Tensor:
    """Inverts `to_uint8` exactly, to the network's input; uint8 or float32 [..., 3] to float32 [..., 3]."""
    return tf.cast(images, tf.float32) - BGR_MEANS


def index_labels(labels: tf.Tensor, classes: list[str]) -> tf.Tensor:
    """Converts class names to their indices in the class list; -1 for a name that is not in the list.

    A vocabulary analyzer of Transform would order the classes by frequency, and their order would change between runs.

    Args:
        labels: string [batch].
        classes: class names, in the order of the model's outputs.
    Returns:
        int64 [batch].
    """
    matches = tf.equal(labels[:, tf.newaxis], tf.constant(classes)[tf.newaxis, :])
    return tf.where(tf.reduce_any(matches, axis=1), tf.argmax(matches, axis=1), -1)


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: Config) -> dict[str, tf.Tensor]:
    """Computes the transformed features; TFX's Transform traces this function.

    Args:
        inputs: raw features by name, string [batch, 1].
        custom_config: image size, limit and classes.
    Returns:
        `pixels` float32 [batch, size, size, 3] and `label_index` int64 [batch, 1].
    """
    image_size, max_megapixels = custom_config["image_size"], custom_config["max_megapixels"]
    return {
        features.PIXELS: preprocess_images(inputs[features.IMAGE][:, 0], image_size, max_megapixels),
        features.LABEL_INDEX: index_labels(inputs[features.LABEL][:, 0], custom_config["classes"])[:, tf.newaxis],
    }
