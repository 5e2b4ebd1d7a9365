"""What the SavedModel exports: stock TensorFlow ops only, so that it loads without Keras or TFX."""

from typing import TYPE_CHECKING

import tensorflow as tf

from schema import features

if TYPE_CHECKING:
    import keras
    import tensorflow_transform as tft

SERVING, EXAMPLES, TRANSFORM_FEATURES = "serving_default", "examples", "transform_features"
IMAGE_BYTES = "image_bytes"


class ServedModel(tf.Module):
    """The network behind its own preprocessing graph.

    Each signature goes through the transform graph of training; preprocessing is attached, never written twice.
    """

    def __init__(self, network: "keras.Model", transform_output: "tft.TFTransformOutput", classes: list[str]):
        """Wraps a network.

        Args:
            network: pixels float32 [batch, size, size, 3] to probabilities float32 [batch, classes].
            transform_output: the transform graph.
            classes: class names, in the order of the outputs.
        """
        super().__init__(name="graft")
        self.network = network
        self.transform = transform_output.transform_features_layer()
        self.classes = tf.constant(classes)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images, string [N], to predictions."""
        return self._predict(self.transform({features.IMAGE: image_bytes[:, tf.newaxis]}))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples with an `image`, string [N], to predictions."""
        return self._predict(self.transform(_parse(examples, features.IMAGE)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def transform_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples with a `label`, string [N], to `label_index` int64 [N, 1]."""
        transformed = self.transform(_parse(examples, features.LABEL))
        return {features.LABEL_INDEX: transformed[features.LABEL_INDEX]}

    def _predict(self, transformed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        probabilities = self.network(transformed[features.PIXELS], training=False)
        count = tf.shape(probabilities)[0]
        return {
            "probabilities": probabilities,
            "label": tf.gather(self.classes, tf.argmax(probabilities, axis=1)),
            "classes": tf.tile(self.classes[tf.newaxis], [count, 1]),
        }


def export_saved_model(
    network: "keras.Model", transform_output: "tft.TFTransformOutput", classes: list[str], path: str
) -> None:
    """Writes a SavedModel with the three signatures.

    Args:
        network: as for `ServedModel`; may be compiled.
        transform_output: the transform graph.
        classes: class names, in the order of the outputs.
        path: the folder to write.
    """
    import keras

    # The same layers in a model that was never compiled: with it, Adam's slots would triple the file.
    served = ServedModel(keras.Model(network.inputs[0], network.outputs[0]), transform_output, classes)
    signatures = {
        SERVING: served.serve_images,
        EXAMPLES: served.serve_examples,
        TRANSFORM_FEATURES: served.transform_labels,
    }
    tf.saved_model.save(served, path, signatures=signatures)


def _parse(examples: tf.Tensor, feature: str) -> dict[str, tf.Tensor]:
    return tf.io.parse_example(examples, {feature: tf.io.FixedLenFeature([1], tf.string)})
