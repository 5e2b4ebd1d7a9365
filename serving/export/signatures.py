"""Export of a network as a SavedModel, from stock TensorFlow ops: it loads without Keras and TFX."""

import contextlib
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from schema import features
from serving.export.calibration import Calibration, write_calibration
from serving.export.class_distance import ClassDistance
from serving.export.explanation import HEATMAP, ORIENTATION, RESIZE, View, explain
from serving.export.network import Network
from serving.storage import side_files
from serving.storage.saved_model import EXTRA_ASSETS

if TYPE_CHECKING:
    import tensorflow_transform as tft

SERVING, EXAMPLES, TRANSFORM_FEATURES = "serving_default", "examples", "transform_features"
# Signature without strings, for the conversion to other formats. Not in CONTRACT, because earlier versions lack it.
PIXELS = "pixels"
# Signature of a prediction with a heat map, for a network with global average pooling.
EXPLAIN = "explain"
# Signature of a model with a frozen base only: takes stored embeddings in place of images.
EMBEDDED_EXAMPLES = "embedded_examples"
IMAGE_BYTES = "image_bytes"
_EMBEDDING_KEY = os.path.join(EXTRA_ASSETS, "embedding_kind.json")
CLASSES = os.path.join(EXTRA_ASSETS, "classes.json")

_STRINGS = ("DT_STRING", 1)
_PREDICTION = {
    "probabilities": ("DT_FLOAT", 2),
    "label": _STRINGS,
    "classes": ("DT_STRING", 2),
    "accepted": ("DT_BOOL", 1),
}
_EXPLANATION = _PREDICTION | {HEATMAP: ("DT_FLOAT", 3), RESIZE: _STRINGS, ORIENTATION: _STRINGS}
# Signatures that clients rely on: inputs and outputs by signature, type and rank by name. A version of an earlier Graft
# may lack EXPLAIN.
CONTRACT = {
    SERVING: ({IMAGE_BYTES: _STRINGS}, _PREDICTION),
    EXAMPLES: ({EXAMPLES: _STRINGS}, _PREDICTION),
    TRANSFORM_FEATURES: ({EXAMPLES: _STRINGS}, {features.LABEL_INDEX: ("DT_INT64", 2)}),
    EXPLAIN: ({IMAGE_BYTES: _STRINGS}, _EXPLANATION),
}


class ServedModel(tf.Module):
    """Network with the preprocessing of its training, as functions for a SavedModel.

    The functions call the transform graph of the training, so that preprocessing is written once. All call the same
    graph of the base, `extract`; what needs the feature map in front of the pooling begins there.
    """

    def __init__(
        self,
        network: Network,
        transform_output: "tft.TFTransformOutput",
        classes: list[str],
        calibration: Calibration | None = None,
        distance: ClassDistance | None = None,
        view: View | None = None,
    ):
        """Makes the functions.

        Args:
            network: network whose head gives logits; probabilities without `calibration`.
            transform_output: transform graph of the training.
            classes: class names in the order of the outputs.
            calibration: temperature and threshold, which become constants of the graph; None to serve the outputs of
                the network as they are, and to accept all images.
            distance: score of the embeddings that the threshold is for; None for the largest probability.
            view: settings of the transform graph that the readers of a heat map need; None for the defaults.
        """
        super().__init__(name="graft")
        layer = transform_output.transform_features_layer()
        # Variables and tables of the functions below. The Keras objects are not attributes: Keras would trace and save
        # further functions for each, which nothing calls.
        self.resources = list(tf.train.TrackableView(layer).children(layer).values())
        self.weights = [*network.base_weights, *network.head_weights]
        self.transform = lambda raw: layer(raw)
        pixels = tf.TensorSpec(network.input_shape, tf.float32, name=PIXELS)
        self._network, self.view = network, view or View()
        # A tf.function, so that all signatures share one graph of the base.
        self.extract = tf.function(network.base, input_signature=[pixels], autograph=False)
        self.serve_pixels = tf.function(self._predict_pixels, input_signature=[pixels], autograph=False)
        self.classes = tf.constant(classes)
        self.calibration = calibration
        self.distance = distance.build() if distance else None

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)], autograph=False)
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts encoded images, string [N]."""
        transformed = self.transform({features.IMAGE: image_bytes[:, tf.newaxis]})
        return self.describe(*self._predict(transformed[features.PIXELS]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts serialized tf.Examples with an `image`, string [N]."""
        outputs, _ = self.score_examples(examples)
        return outputs

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def score_examples(self, examples: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Predicts as `serve_examples`, and returns the score of each image besides, float32 [N].

        No signature has the score. The ServingValidator calls this function, to see which scores are near the
        threshold.
        """
        transformed = self.transform(_parse(examples, features.IMAGE))
        return self._describe(*self._predict(transformed[features.PIXELS]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)], autograph=False)
    def explain_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts encoded images, string [N], with a heat map of the most probable class float32 [N, h, w], 0 to 1."""
        transformed = self.transform({features.IMAGE: image_bytes[:, tf.newaxis]})
        outputs, embeddings, heat_maps = explain(self._network, self.extract(transformed[features.PIXELS]))
        return self.describe(outputs, embeddings) | self.view.describe(tf.shape(outputs)[0]) | {HEATMAP: heat_maps}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def transform_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Converts serialized tf.Examples with a `label`, string [N], to `label_index` int64 [N, 1]."""
        transformed = self.transform(_parse(examples, features.LABEL))
        return {features.LABEL_INDEX: transformed[features.LABEL_INDEX]}

    def _predict_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts decoded images, float32 [N, size, size, 3], RGB from 0 to 255; returns no strings."""
        from keras.applications import resnet50  # needed to export, not to load

        outputs, embeddings = self._predict(resnet50.preprocess_input(pixels))
        probabilities = self._scale(outputs)
        return {"probabilities": probabilities, "accepted": self._accept(self._score(probabilities, embeddings))}

    def _predict(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes logits and embeddings for the network's input, float32 [N, size, size, 3]."""
        embeddings = self._network.pool(self.extract(pixels))
        return self._network.head(embeddings), embeddings

    def describe(self, outputs: tf.Tensor, embeddings: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Turns outputs of the network into those of a signature.

        The label follows from the outputs before scaling, so that no rounding makes another class the first.

        Args:
            outputs: float32 [N, num_classes].
            embeddings: float32 [N, 2048]; None if the score is the largest probability.
        """
        described, _ = self._describe(outputs, embeddings)
        return described

    def _describe(
        self, outputs: tf.Tensor, embeddings: tf.Tensor | None = None
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        probabilities = self._scale(outputs)
        score = self._score(probabilities, embeddings)
        described = {
            "probabilities": probabilities,
            "label": tf.gather(self.classes, tf.argmax(outputs, axis=1)),
            "classes": tf.tile(self.classes[tf.newaxis], [tf.shape(outputs)[0], 1]),
            "accepted": self._accept(score),
        }
        return described, score

    def _scale(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs if self.calibration is None else tf.nn.softmax(outputs / self.calibration.temperature)

    def _score(self, probabilities: tf.Tensor, embeddings: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the score that the threshold is for, float32 [N]."""
        return tf.reduce_max(probabilities, axis=1) if self.distance is None else self.distance(embeddings)

    def _accept(self, score: tf.Tensor) -> tf.Tensor:
        """Returns whether each image is of a known class, bool [N]."""
        if self.calibration is None or self.calibration.threshold is None:
            return tf.ones_like(score, tf.bool)
        return score >= self.calibration.threshold


class FrozenServedModel(ServedModel):
    """ServedModel with a frozen base, and a further function that predicts stored embeddings without the base."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)], autograph=False)
    def serve_embedded(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts serialized tf.Examples with an `embedding` of the frozen base, string [N]."""
        spec = {features.EMBEDDING: tf.io.FixedLenFeature(self._network.embedding_shape, tf.float32)}
        embeddings = tf.io.parse_example(examples, spec)[features.EMBEDDING]
        return self.describe(self._network.head(embeddings), embeddings)


def export_saved_model(
    network: Network,
    transform_output: "tft.TFTransformOutput",
    classes: list[str],
    path: str,
    embedding_key: str = "",
    calibration: Calibration | None = None,
    distance: ClassDistance | None = None,
    view: View | None = None,
) -> None:
    """Writes a SavedModel with five signatures, and with `embedding_key` a sixth.

    `assets.extra/classes.json` lists the class names for readers that do not load the model, and
    `assets.extra/calibration.json` has the calibration.

    Args:
        network: as for `ServedModel`.
        transform_output: transform graph of the training.
        classes: class names in the order of the outputs.
        path: folder to write.
        embedding_key: FeatureKey of the base's embeddings as JSON, for `read_embedding_key`; "" if phase 2 trained the
            base, because no stored embedding is of this base then.
        calibration: as for `ServedModel`.
        distance: as for `ServedModel`.
        view: as for `ServedModel`.
    """
    kind = FrozenServedModel if embedding_key else ServedModel
    served = kind(network, transform_output, classes, calibration, distance, view)
    signatures = {
        SERVING: served.serve_images,
        EXAMPLES: served.serve_examples,
        TRANSFORM_FEATURES: served.transform_labels,
        EXPLAIN: served.explain_images,
        PIXELS: served.serve_pixels,
    }
    if isinstance(served, FrozenServedModel):
        signatures[EMBEDDED_EXAMPLES] = served.serve_embedded
    tf.saved_model.save(served, path, signatures=signatures)
    _write(os.path.join(path, CLASSES), json.dumps(classes, ensure_ascii=False))
    if calibration is not None:
        write_calibration(path, calibration)
    if embedding_key:
        _write(os.path.join(path, _EMBEDDING_KEY), embedding_key)


def read_embedding_key(path: str) -> str:
    """Returns the FeatureKey of the embeddings that a SavedModel takes, as JSON; "" if the model takes images only."""
    try:
        return (side_files.read_bytes(os.path.join(path, _EMBEDDING_KEY)) or b"").decode("utf-8")
    except (side_files.DamagedError, UnicodeDecodeError):  # then the caller sends images, which each model takes
        return ""


def read_classes(path: str) -> list[str]:
    """Returns the class names of a SavedModel in the order of its outputs; an empty list if their file is damaged."""
    with contextlib.suppress(side_files.DamagedError):
        names = side_files.read_json(os.path.join(path, CLASSES))
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return []


def read_last_weights(path: str, count: int) -> list[np.ndarray]:
    """Returns the last `count` weights of the network in a SavedModel; the head's weights are behind the base's."""
    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    names = [f"weights/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(reader.get_variable_to_shape_map()))]
    return [reader.get_tensor(name) for name in [name for name in names if reader.has_tensor(name)][-count:]]


def _write(path: str, text: str) -> None:
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def _parse(examples: tf.Tensor, feature: str) -> dict[str, tf.Tensor]:
    parsed: dict[str, tf.Tensor] = tf.io.parse_example(examples, {feature: tf.io.FixedLenFeature([1], tf.string)})
    return parsed
