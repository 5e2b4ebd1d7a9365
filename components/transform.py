"""Preprocessing: from an encoded image to ResNet50's input, and from a class name to its index.

There is one preprocessing graph. TFX's Transform traces `preprocessing_fn`; the Trainer reads through that
graph and the SavedModel carries it, so that training and serving cannot drift apart.
"""

from typing import Any

import tensorflow as tf
from keras.applications import resnet50

from schema import features

# What tf.io.decode_image reads on either stack, by the first bytes of the file. A newer TensorFlow reads WebP
# as well; refusing it in ingest on both keeps a model servable wherever it was trained.
READABLE = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP"}


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


def resize_image(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes to a square, bilinear; uint8 [height, width, 3] to float32 [image_size, image_size, 3]."""
    return tf.image.resize(image, [image_size, image_size], method="bilinear")


def preprocess_images(encoded: tf.Tensor, image_size: int) -> tf.Tensor:
    """Encoded images to what ResNet50 was trained on; string [batch] to float32 [batch, size, size, 3]."""
    resized = tf.map_fn(
        lambda image: resize_image(decode_image(image), image_size),
        encoded,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
    )
    return resnet50.preprocess_input(resized)


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
        custom_config: `image_size` in pixels and `classes`.
    Returns:
        `pixels` float32 [batch, size, size, 3] and `label_index` int64 [batch, 1].
    """
    return {
        features.PIXELS: preprocess_images(inputs[features.IMAGE][:, 0], custom_config["image_size"]),
        features.LABEL_INDEX: index_labels(inputs[features.LABEL][:, 0], custom_config["classes"])[:, tf.newaxis],
    }
