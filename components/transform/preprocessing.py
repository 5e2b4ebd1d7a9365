"""Preprocessing of an encoded image to ResNet50's input, and of a class name to its index.

TFX's Transform traces `preprocessing_fn` to the only preprocessing graph. The Trainer reads images through that graph,
and the SavedModel contains it, so training and serving have the same preprocessing.
"""

from typing import Literal, TypedDict

import numpy as np
import tensorflow as tf
from keras.applications import resnet50

from components.images.decoding import RATIOS, choose_octave, decode_image, reject_oversized
from components.transform.geometry import Resize, resize_image, turn_upright
from schema import features

# Means that resnet50.preprocess_input subtracts, in its order: blue, green, red (He et al. 2015, in Caffe).
BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)
Orientation = Literal["exif", "ignore"]


class Config(TypedDict):
    """Configuration of the graph, as `custom_config` of TFX's Transform.

    Attributes:
        image_size: width and height of the network's input, in pixels.
        max_megapixels: upper limit of an image's size, as for `reject_oversized`.
        orientation, resize: as for `preprocess_images`.
        classes: class names, in the order of the model's outputs.
    """

    image_size: int
    max_megapixels: float
    orientation: Orientation
    resize: Resize
    classes: list[str]


@tf.autograph.experimental.do_not_convert  # has no Python control flow on tensors; the conversion takes a second
def preprocess_images(
    encoded: tf.Tensor,
    image_size: int,
    max_megapixels: float,
    orientation: Orientation = "exif",
    resize: Resize = "stretch",
) -> tf.Tensor:
    """Decodes images (of a GIF the first frame), resizes them, turns them, and converts them to ResNet50's input.

    Args:
        encoded: string [batch].
        image_size: width and height of the output, in pixels.
        max_megapixels: upper limit of an image's size, as for `reject_oversized`.
        orientation: "exif" turns an image upright by its EXIF orientation; "ignore" leaves it as stored.
        resize: as for `resize_image`.
    Returns:
        float32 [batch, image_size, image_size, 3]; blue, green, red minus BGR_MEANS.
    Raises:
        tf.errors.InvalidArgumentError: if a string is no image, or the image is too large.
    """

    def preprocess(image: tf.Tensor) -> tf.Tensor:
        return preprocess_image(image, image_size, max_megapixels, orientation, resize)

    shape = tf.TensorSpec([image_size, image_size, 3], tf.float32)
    with tf.device("/CPU:0"):  # see `preprocess_image`
        images = tf.map_fn(preprocess, encoded, fn_output_signature=shape)
    return resnet50.preprocess_input(images)


@tf.function(autograph=False)  # Transform traces `preprocessing_fn` four times; this part of it is traced once
def preprocess_image(
    encoded: tf.Tensor, image_size: int, max_megapixels: float, orientation: Orientation, resize: Resize
) -> tf.Tensor:
    """Decodes an image, resizes it and turns it.

    Args:
        encoded: string scalar.
        image_size: as for `preprocess_images`.
        max_megapixels: as for `reject_oversized`.
        orientation: as for `preprocess_images`.
        resize: as for `resize_image`.
    Returns:
        float32 [image_size, image_size, 3]; red, green, blue, 0 to 255.
    """
    # Elsewhere than in tf.data, TensorFlow would put the resizing on a card, one image after the other.
    with tf.device("/CPU:0"):
        header = reject_oversized(encoded, max_megapixels)
        octave = choose_octave(header, image_size, longer=resize == "pad")
        extent = tf.cast(header.size[::-1], tf.float32) / tf.gather(tf.constant(RATIOS, tf.float32), octave)
        resized = resize_image(decode_image(header.encoded, octave), image_size, resize, extent)
        # Turned last: these are the fewest pixels. The square has the same middle in each orientation.
        return turn_upright(resized, header.orientation) if orientation == "exif" else resized


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
        custom_config: configuration.
    Returns:
        `pixels` float32 [batch, size, size, 3] and `label_index` int64 [batch, 1].
    """
    pixels = preprocess_images(
        inputs[features.IMAGE][:, 0],
        custom_config["image_size"],
        custom_config["max_megapixels"],
        custom_config["orientation"],
        custom_config["resize"],
    )
    return {
        features.PIXELS: pixels,
        features.LABEL_INDEX: index_labels(inputs[features.LABEL][:, 0], custom_config["classes"])[:, tf.newaxis],
    }
