"""The network: ResNet50 without its top, global average pooling, and a dense head.

The head alone is trained on embeddings first (phase 1), then the upper part of the base with it (phase 2).
"""

from collections.abc import Sequence

import keras
import numpy as np

from schema.errors import UsageError

EMBEDDING_SIZE = 2048
_LEAST_VARIANCE = 1e-3  # of a feature, as a share of the mean variance
RANDOM = "random"
ALL = "all"


def build_base(image_size: int, weights: str) -> keras.Model:
    """Builds ResNet50 without its top.

    Args:
        image_size: in pixels, at least 32.
        weights: path of a weights file in Keras' `notop` format, or "random".
    Returns:
        A model of 175 layers; float32 [batch, size, size, 3] to [batch, size / 32, size / 32, 2048].
    Raises:
        UsageError: if the file holds other weights.
    """
    try:
        return keras.applications.ResNet50(
            include_top=False,
            weights=None if weights == RANDOM else weights,
            input_shape=(image_size, image_size, 3),
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{weights}: these are not weights of ResNet50 without its top ({str(error).splitlines()[0][:200]}). "
            "Expected the file resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 or one like it."
        ) from error


def build_embedder(base: keras.Model) -> keras.Model:
    """The base and global average pooling; float32 [batch, size, size, 3] to [batch, 2048].

    BatchNorm runs in inference mode whatever is trainable: its statistics are ImageNet's.
    """
    images = keras.Input(base.input_shape[1:], name="pixels")
    pooled = keras.layers.GlobalAveragePooling2D(name="embedding")(base(images, training=False))
    return keras.Model(images, pooled, name="embedder")


def standardize(embeddings: np.ndarray) -> keras.layers.Normalization:
    """Scales embeddings to zero mean and unit variance.

    Without this a head of four layers does not learn on features that are not scaled.

    Args:
        embeddings: float32 [num_images, 2048], from the frozen base.
    Returns:
        A layer with mean and variance fixed; float32 [batch, 2048] in and out. A feature that hardly varies is
        scaled as if it varied a little: fine-tuning wakes dead features, and divided by nothing they explode.
    Raises:
        ValueError: if there are no rows.
    """
    if not len(embeddings):
        raise ValueError("standardize: expected at least one embedding, got none")
    variance = embeddings.var(axis=0)
    floor = _LEAST_VARIANCE * variance.mean() or 1.0
    return keras.layers.Normalization(
        mean=embeddings.mean(axis=0), variance=np.maximum(variance, floor), name="standardize"
    )


def build_head(embeddings: np.ndarray, units: Sequence[int], num_classes: int) -> keras.Model:
    """Builds the dense head.

    Args:
        embeddings: float32 [num_images, 2048], those of the training split; for `standardize`.
        units: width of each hidden layer, ReLU.
        num_classes: at least 2.
    Returns:
        float32 [batch, 2048] to probabilities float32 [batch, num_classes].
    """
    inputs = keras.Input([EMBEDDING_SIZE], name="embedding")
    outputs = standardize(embeddings)(inputs)
    for index, width in enumerate(units, 1):
        outputs = keras.layers.Dense(width, activation="relu", name=f"dense_{index}")(outputs)
    outputs = keras.layers.Dense(num_classes, activation="softmax", name="probabilities")(outputs)
    return keras.Model(inputs, outputs, name="head")


def assemble(embedder: keras.Model, head: keras.Model) -> keras.Model:
    """The whole network, sharing the weights of both; float32 [batch, size, size, 3] to [batch, classes]."""
    return keras.Model(embedder.inputs[0], head(embedder.outputs[0]), name="graft")


def freeze_below(base: keras.Model, fine_tune_from: str) -> None:
    """Makes the layers from a block (or layer) on trainable, but no BatchNorm.

    Args:
        base: from `build_base`; changed in place.
        fine_tune_from: prefix of layer names, such as "conv5_block1" or "conv5", or "all".
    Raises:
        UsageError: if no layer is called so.
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


def compile_for_training(model: keras.Model, learning_rate: float) -> None:
    """Compiles for either phase, so that the two cannot drift apart. Labels are class indices."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # XLA makes the forward pass 3 times slower on a CPU
    )
