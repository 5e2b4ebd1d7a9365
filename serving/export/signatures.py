"""What the SavedModel exports: stock TensorFlow ops only, so that it loads without Keras or TFX."""

import contextlib
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from schema import features
from serving.storage import side_files

if TYPE_CHECKING:
    import keras
    import tensorflow_transform as tft

SERVING, EXAMPLES, TRANSFORM_FEATURES = "serving_default", "examples", "transform_features"
# Of no string, so that it can be converted to other formats. Not in the contract, for earlier versions lack it.
PIXELS = "pixels"
# Only of a model whose base is the frozen one: it is evaluated on embeddings that are there already.
EMBEDDED_EXAMPLES = "embedded_examples"
IMAGE_BYTES = "image_bytes"
_EMBEDDING_KIND = os.path.join("assets.extra", "embedding_kind.json")
CLASSES = os.path.join("assets.extra", "classes.json")

_STRINGS = ("DT_STRING", 1)
_PREDICTION = {"probabilities": ("DT_FLOAT", 2), "label": _STRINGS, "classes": ("DT_STRING", 2)}
# What clients rely on. Signature to its inputs and outputs, each a name to its type and rank.
CONTRACT = {
    SERVING: ({IMAGE_BYTES: _STRINGS}, _PREDICTION),
    EXAMPLES: ({EXAMPLES: _STRINGS}, _PREDICTION),
    TRANSFORM_FEATURES: ({EXAMPLES: _STRINGS}, {features.LABEL_INDEX: ("DT_INT64", 2)}),
}


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
        layer = transform_output.transform_features_layer()
        # What the functions below read. The Keras objects themselves stay out: for each of them Keras would trace
        # and write functions of its own, and nobody reads these.
        self.resources = list(tf.train.TrackableView(layer).children(layer).values())
        self.weights = [weight.value for weight in network.weights]
        self.transform = lambda raw: layer(raw)
        pixels = tf.TensorSpec(network.input_shape, tf.float32, name=PIXELS)
        # A function, so that the signatures share one graph of it.
        self.network = tf.function(
            lambda batch: network(batch, training=False), input_signature=[pixels], autograph=False
        )
        self.serve_pixels = tf.function(self._predict_pixels, input_signature=[pixels], autograph=False)
        self.classes = tf.constant(classes)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)], autograph=False)
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images, string [N], to predictions."""
        return self._predict(self.transform({features.IMAGE: image_bytes[:, tf.newaxis]}))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples with an `image`, string [N], to predictions."""
        return self._predict(self.transform(_parse(examples, features.IMAGE)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def transform_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples with a `label`, string [N], to `label_index` int64 [N, 1]."""
        transformed = self.transform(_parse(examples, features.LABEL))
        return {features.LABEL_INDEX: transformed[features.LABEL_INDEX]}

    def _predict_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Decoded images, float32 [N, size, size, 3], red, green and blue from 0 to 255, to `probabilities`."""
        from keras.applications import resnet50  # needed to export, not to load

        return {"probabilities": self.network(resnet50.preprocess_input(pixels))}

    def _predict(self, transformed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self.describe(self.network(transformed[features.PIXELS]))

    def describe(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities float32 [N, C] to what the signatures return."""
        count = tf.shape(probabilities)[0]
        return {
            "probabilities": probabilities,
            "label": tf.gather(self.classes, tf.argmax(probabilities, axis=1)),
            "classes": tf.tile(self.classes[tf.newaxis], [count, 1]),
        }


class FrozenServedModel(ServedModel):
    """The same of a network whose base is the frozen one: what is embedded already need not go through it again."""

    def __init__(
        self,
        network: "keras.Model",
        transform_output: "tft.TFTransformOutput",
        classes: list[str],
        head: "keras.Model",
    ):
        """Wraps a network, and the part of it above the embeddings float32 [batch, 2048]."""
        super().__init__(network, transform_output, classes)
        self.head_weights = [weight.value for weight in head.weights]
        self.head = lambda embeddings: head(embeddings, training=False)
        self.embedding_shape = head.input_shape[1:]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def serve_embedded(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples with an `embedding` of the frozen base, string [N], to predictions."""
        spec = {features.EMBEDDING: tf.io.FixedLenFeature(self.embedding_shape, tf.float32)}
        embeddings = tf.io.parse_example(examples, spec)[features.EMBEDDING]
        return self.describe(self.head(embeddings))


def export_saved_model(
    network: "keras.Model",
    transform_output: "tft.TFTransformOutput",
    classes: list[str],
    path: str,
    head: "keras.Model | None" = None,
    embedding_kind: str = "",
) -> None:
    """Writes a SavedModel with the four signatures, and if its base is the frozen one, a fifth.

    `assets.extra/classes.json` lists the class names, for those who cannot ask the model.

    Args:
        network: as for `ServedModel`; may be compiled.
        transform_output: the transform graph.
        classes: class names, in the order of the outputs.
        path: the folder to write.
        head: if the base is the frozen one, the part above the embeddings.
        embedding_kind: what these embeddings are, for `read_embedding_kind`.
    """
    if head is None:
        served = ServedModel(network, transform_output, classes)
    else:
        served = FrozenServedModel(network, transform_output, classes, head)
    signatures = {
        SERVING: served.serve_images,
        EXAMPLES: served.serve_examples,
        TRANSFORM_FEATURES: served.transform_labels,
        PIXELS: served.serve_pixels,
    }
    if isinstance(served, FrozenServedModel):
        signatures[EMBEDDED_EXAMPLES] = served.serve_embedded
    tf.saved_model.save(served, path, signatures=signatures)
    _write(os.path.join(path, CLASSES), json.dumps(classes, ensure_ascii=False))
    if embedding_kind:
        _write(os.path.join(path, _EMBEDDING_KIND), embedding_kind)


def read_embedding_kind(path: str) -> str:
    """What embeddings a SavedModel takes by its signature EMBEDDED_EXAMPLES; "" if it takes none."""
    try:
        return (side_files.read_bytes(os.path.join(path, _EMBEDDING_KIND)) or b"").decode("utf-8")
    except (side_files.DamagedError, UnicodeDecodeError):  # then it is asked with images, which it takes in any case
        return ""


def read_classes(path: str) -> list[str]:
    """The class names in `assets.extra/classes.json` of a SavedModel, in the order of its outputs; none if damaged."""
    with contextlib.suppress(side_files.DamagedError):
        names = side_files.read_json(os.path.join(path, CLASSES))
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return []


def read_last_weights(path: str, count: int) -> list[np.ndarray]:
    """The last so many weights of the network in a SavedModel: those of the head are behind those of the base."""
    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    names = [f"weights/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(reader.get_variable_to_shape_map()))]
    present = [name for name in names if reader.has_tensor(name)]
    return [reader.get_tensor(name) for name in present[-count:]]


def _write(path: str, text: str) -> None:
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def _parse(examples: tf.Tensor, feature: str) -> dict[str, tf.Tensor]:
    return tf.io.parse_example(examples, {feature: tf.io.FixedLenFeature([1], tf.string)})
