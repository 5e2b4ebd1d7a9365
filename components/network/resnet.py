"""The network: ResNet50 without its top, global average pooling, and a dense head.

The head alone is trained on embeddings first (phase 1), then the upper part of the base with it (phase 2).
"""

import hashlib
import itertools
import os
import random
import tempfile
from collections.abc import Sequence
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from components.network.folded import FoldedLayer
from components.network.padded import PaddedNetwork
from components.network.weights import IMAGENET, NOTOP_FILE, RANDOM
from schema.errors import UsageError
from schema.features import EMBEDDING_SIZE

_LEAST_VARIANCE = 1e-3  # floor of a feature's variance, as a share of the mean variance
ALL = "all"
_KERAS_3_SUFFIX = ".weights.h5"


def build_base(image_size: int, weights: str, seed: int = 0) -> keras.Model:
    """Builds ResNet50 without its top.

    Args:
        image_size: width and height in pixels, at least 32.
        weights: path or URI of a weights file in Keras' `notop` format or of Keras 3's `save_weights`; "random"; or
            "imagenet", which Keras downloads (a local run passes the path of the file instead).
        seed: seed of random weights; the same seed gives the same weights in every process.
    Returns:
        A model of 175 layers; float32 [batch, size, size, 3] to [batch, size / 32, size / 32, 2048].
    Raises:
        UsageError: if the file holds other weights, or cannot be fetched.
    """
    with _seeded_kernels(seed):
        base = _build_resnet(image_size, IMAGENET if weights == IMAGENET else None)
    if "://" in weights:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, os.path.basename(weights))
            tf.io.gfile.copy(weights, path)
            _load_weights(base, path)
    elif weights not in (RANDOM, IMAGENET):
        _load_weights(base, weights)
    return base


def _build_resnet(image_size: int, weights: str | None) -> keras.Model:
    try:
        return keras.applications.ResNet50(include_top=False, weights=weights, input_shape=(image_size, image_size, 3))
    except Exception as error:
        if weights is None:
            raise
        raise UsageError(  # Keras raises no class of its own for a failed download
            f"weights: the ImageNet weights cannot be fetched from here ({str(error).splitlines()[0][:200]}). Put the "
            f"file {NOTOP_FILE} into the image or into a bucket, and name it with --weights."
        ) from error


class _Seeds:
    """Random seeds for layers, drawn in the order in which the layers are built.

    `keras.utils.set_random_seed` leads to the same seeds, but draws them from Python's `random`, which all threads
    share: a number drawn by another thread changes the weights of all later layers.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def draw(self) -> int:
        """Returns the seed of the next initializer or dropout layer."""
        return self._random.randint(1, 10**9)

    def from_config(self, config: dict[str, Any]) -> keras.initializers.Initializer:
        """Returns the next initializer; Keras calls this method of the object that a custom object scope names."""
        return keras.initializers.GlorotUniform(**config | {"seed": self.draw()})


def _seeded_kernels(seed: int) -> keras.saving.CustomObjectScope:
    """Returns a context that seeds the kernels of layers built in this thread; keras.applications takes no seed."""
    return keras.saving.CustomObjectScope({"glorot_uniform": _Seeds(seed)})


def digest_weights(base: keras.Model) -> str:
    """Digests the shapes and values of a network's weights; hex sha256."""
    digest = hashlib.sha256()
    for weights in base.get_weights():
        digest.update(repr(weights.shape).encode())
        digest.update(np.ascontiguousarray(weights).data)
    return digest.hexdigest()


def check_weights(path: str, image_size: int) -> None:
    """Loads a weights file into a base, to find a wrong file before a run; takes some seconds.

    Args:
        path: path of a weights file, as for `build_base`.
        image_size: width and height in pixels, at least 32.
    Raises:
        UsageError: if the file holds other weights.
    """
    build_base(image_size, path)


def find_mismatch(path: str, base: keras.Model) -> str:
    """Compares the layers in a weights file with those of a network, by name and shapes.

    Args:
        path: path of a weights file in HDF5 by layer, the format before Keras 3.
        base: network to compare with.
    Returns:
        A description of the first difference, or "" without a difference.
    Raises:
        OSError: if the file is not HDF5.
        KeyError: if a layer lacks its attributes.
    """
    shapes = _read_shapes(path)
    for layer in filter(lambda layer: layer.weights, base.layers):
        if layer.name not in shapes:
            return f"the file has no layer {layer.name!r}"
        for expected, found in itertools.zip_longest([w.shape for w in layer.weights], shapes.pop(layer.name)):
            if expected != found:
                return f"layer {layer.name}: expected {expected or 'nothing more'}, the file has {found or 'nothing'}"
    return next((f"the file has the layer {name!r}, which ResNet50 without top has not" for name in shapes), "")


def _read_shapes(path: str) -> dict[str, list[tuple[int, ...]]]:
    """Reads the shapes of the weights by layer name, in the order of the file; skips layers without weights."""
    with h5py.File(path) as file:
        # The file of a whole model has its layers in the group "model_weights".
        layers = file if "layer_names" in file.attrs else file.get("model_weights", file)
        names = {_decode(name): layers[name].attrs["weight_names"] for name in layers.attrs.get("layer_names", [])}
        return {name: [layers[name][w].shape for w in weights] for name, weights in names.items() if len(weights)}


def _decode(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _load_weights(base: keras.Model, path: str) -> None:
    """Loads weights by the order of the layers, as Keras does; the names of the layers serve only the error message."""
    try:
        base.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path}: these are not weights of ResNet50 without its top ({_explain(path, base, error)}). "
            f"Expected the file {NOTOP_FILE}, a file of this format, or a *{_KERAS_3_SUFFIX} that Keras 3 saved."
        ) from error


def _explain(path: str, base: keras.Model, error: Exception) -> str:
    try:
        mismatch = "" if path.endswith(_KERAS_3_SUFFIX) else find_mismatch(path, base)
    except (OSError, KeyError):
        mismatch = ""
    return mismatch or str(error).splitlines()[0][:200]


def build_embedder(base: keras.Model, precision: str = "float32") -> keras.Model:
    """Puts global average pooling on a base; float32 [batch, size, size, 3] to [batch, 2048].

    BatchNorm always runs in inference mode: its statistics are ImageNet's. It is folded, see `FoldedLayer`.

    Args:
        base: base from `build_base`; its layers decide which weights are trainable.
        precision: type that the base computes in; the embeddings are float32.
    """
    images = keras.Input(base.input_shape[1:], name="pixels")
    return keras.Model(images, pool(FoldedLayer(base, precision=precision, name="base")(images)), name="embedder")


def pool(features: keras.KerasTensor) -> keras.KerasTensor:
    """Averages features over all positions; float32 [batch, h, w, c] to [batch, c]."""
    return keras.layers.GlobalAveragePooling2D(name="embedding")(features)


def standardize(embeddings: np.ndarray) -> keras.layers.Normalization:
    """Scales embeddings to zero mean and unit variance.

    A head of four layers does not learn on unscaled features.

    Args:
        embeddings: float32 [num_images, 2048], from the frozen base.
    Returns:
        A layer with mean and variance fixed; float32 [batch, 2048] in and out. Variances have a floor: fine-tuning may
        revive a dead feature, which explodes if divided by a variance near 0.
    Raises:
        ValueError: if `embeddings` has no rows.
    """
    if not len(embeddings):
        raise ValueError("standardize: expected at least one embedding, got none")
    variance = embeddings.var(axis=0)
    floor = _LEAST_VARIANCE * variance.mean() or 1.0
    return keras.layers.Normalization(
        mean=embeddings.mean(axis=0), variance=np.maximum(variance, floor), name="standardize"
    )


def build_head(
    embeddings: np.ndarray, units: Sequence[int], num_classes: int, dropout: float = 0.0, seed: int = 0
) -> keras.Model:
    """Builds the dense head.

    Args:
        embeddings: float32 [num_images, 2048], embeddings of the training split; for `standardize`.
        units: width of each hidden layer; their activation is ReLU.
        num_classes: number of classes, at least 2.
        dropout: share of units dropped after each hidden layer in training; 0 <= dropout < 1.
        seed: seed of the initial weights and of dropout.
    Returns:
        A model; float32 [batch, 2048] to probabilities float32 [batch, num_classes].
    """
    inputs = keras.Input([EMBEDDING_SIZE], name="embedding")
    outputs = standardize(embeddings)(inputs)
    seeds = _Seeds(seed)
    for index, width in enumerate(units, 1):
        outputs = keras.layers.Dense(
            width, activation="relu", kernel_initializer=seeds.from_config({}), name=f"dense_{index}"
        )(outputs)
        if dropout:
            outputs = keras.layers.Dropout(dropout, seed=seeds.draw(), name=f"dropout_{index}")(outputs)
    outputs = keras.layers.Dense(
        num_classes, activation="softmax", kernel_initializer=seeds.from_config({}), name="probabilities"
    )(outputs)
    return keras.Model(inputs, outputs, name="head")


def build_logits(head: keras.Model) -> keras.Model:
    """Returns a head without its softmax, with the weights of the head in the same order.

    Args:
        head: head from `build_head`.
    Returns:
        A model; float32 [batch, 2048] to logits float32 [batch, num_classes].
    """
    last = head.layers[-1]
    logits = keras.layers.Dense(last.units, name="logits")
    network = keras.Model(head.inputs[0], logits(last.input), name="logits")
    logits.set_weights(last.get_weights())
    return network


def assemble(embedder: keras.Model, head: keras.Model) -> keras.Model:
    """Puts a head on an embedder, sharing the weights of both; float32 [batch, size, size, 3] to [batch, classes]."""
    return keras.Model(embedder.inputs[0], head(embedder.outputs[0]), name="graft")


def freeze(base: keras.Model) -> None:
    """Freezes all layers of a base, until `freeze_below`."""
    for layer in base.layers:
        layer.trainable = False


def freeze_below(base: keras.Model, fine_tune_from: str) -> None:
    """Makes the layers from a block (or layer) on trainable, except BatchNorm, and freezes the layers below.

    Args:
        base: base from `build_base`; changed in place.
        fine_tune_from: prefix of layer names, such as "conv5_block1" or "conv5", or "all".
    Raises:
        UsageError: if no layer has this prefix.
    """
    start = 0 if fine_tune_from == ALL else _first_layer(base, fine_tune_from)
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= start and not isinstance(layer, keras.layers.BatchNormalization)


def _first_layer(base: keras.Model, prefix: str) -> int:
    for index, layer in enumerate(base.layers):
        if layer.name == prefix or layer.name.startswith(prefix + "_"):
            return index
    blocks = sorted({layer.name.split("_")[0] for layer in base.layers if layer.name.startswith("conv")})
    raise UsageError(
        f"fine_tune_from: no layer of ResNet50 is called {prefix!r}. "
        f"Expected {ALL!r}, a stage ({', '.join(blocks)}), a block such as conv5_block1, or a layer."
    )


def find_split_layer(base: keras.Model, fine_tune_from: str) -> str | None:
    """Finds the layer at which to split a base into a frozen feature extractor and a tail.

    Args:
        base: base from `build_base`.
        fine_tune_from: first block that phase 2 trains, as for `freeze_below`.
    Returns:
        The name of the last frozen layer whose output is the only input of the layers behind: the end of a block. None
        if phase 2 trains from the first layers on.
    Raises:
        UsageError: if no layer has the prefix `fine_tune_from`.
    """
    if fine_tune_from == ALL:
        return None
    below = base.layers[: _first_layer(base, fine_tune_from)]
    return next((x.name for x in reversed(below) if x.name == "pool1_pool" or x.name.endswith("_out")), None)


def assemble_tail(base: keras.Model, split_layer: str, head: keras.Model, precision: str = "float32") -> keras.Model:
    """Puts a head on the tail of a base, with the weights of both; features at the split layer to [batch, classes].

    Args:
        base: base from `build_base`; its layers decide which weights are trainable.
        split_layer: name of a layer, from `find_split_layer`.
        head: head from `build_head`.
        precision: type that the tail computes in, see `FoldedLayer`.
    """
    embedder = build_tail(base, split_layer, precision)
    return keras.Model(embedder.inputs[0], head(embedder.outputs[0]), name="tail_and_head")


def build_tail(base: keras.Model, split_layer: str, precision: str = "float32") -> keras.Model:
    """Puts global average pooling on the tail of a base; features at the split layer to [batch, 2048].

    The arguments are those of `assemble_tail`.
    """
    features = keras.Input(base.get_layer(split_layer).output.shape[1:], dtype="bfloat16", name="features")
    tail = FoldedLayer(base, split_layer, precision, name="tail")
    return keras.Model(features, pool(tail(features)), name="tail_embedder")


def compile_for_training(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    label_smoothing: float = 0.0,
    jit_compile: bool = False,
) -> None:
    """Compiles a model for either phase, so that both phases have the same loss and metrics.

    Args:
        model: model with probabilities float32 [batch, num_classes] as output; labels are class indices.
        optimizer: optimizer of the phase, not built yet.
        label_smoothing: share of the target that is spread over all classes; 0 <= label_smoothing < 1.
        jit_compile: True to compile with XLA, which makes the forward pass slower on a CPU. It compiles each shape
            anew, so the model is a `PaddedNetwork`.
    """

    def smoothed(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        targets = keras.ops.one_hot(keras.ops.cast(labels, "int32"), probabilities.shape[-1])
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=label_smoothing)

    model.compile(
        optimizer=optimizer,
        loss=smoothed if label_smoothing else "sparse_categorical_crossentropy",
        weighted_metrics=["accuracy"] if isinstance(model, PaddedNetwork) else None,
        metrics=None if isinstance(model, PaddedNetwork) else ["accuracy"],
        jit_compile=jit_compile,
    )
    _build_state(model)


def _build_state(model: keras.Model) -> None:
    """Creates the variables of optimizer, loss and metrics, so that TensorFlow traces the first training step once."""
    model.optimizer.build(model.trainable_variables)
    labels, probabilities = tf.zeros([1], tf.int64), tf.ones([1, model.output_shape[-1]])
    model.compute_loss(None, labels, probabilities)
    model.compute_metrics(None, labels, probabilities)
    model.reset_metrics()
