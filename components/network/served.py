"""Network to export: a folded base with variables for its kernels and biases, and a head."""

import io
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.network.folded import fold_weights, make_steps, pair_layers, pool, read_norm
from serving.export.network import Network
from serving.storage.saved_model import EXTRA_ASSETS

UNSCALED = os.path.join(EXTRA_ASSETS, "unscaled.npz")
# Below this scale, a float32 bias of a folded convolution has lost the digits of the convolution's own bias.
_SMALL_SCALE = 1e-3


def make_network(base: keras.Model, head: keras.Model, precision: str = "float32") -> Network:
    """Makes the network to export.

    Args:
        base: base from `resnet.build_base`, which is folded.
        head: head from `resnet.build_logits`.
        precision: "float32", or "bfloat16" for a base that computes in bfloat16; pooling and head are float32.
    """
    steps = make_steps(base)
    weights = [tf.Variable(tf.cast(weight, precision), trainable=False) for weight in fold_weights(base)]
    return Network(
        input_shape=base.input_shape,
        base=lambda pixels: tf.cast(steps.run(pixels, weights), tf.float32),
        pool=pool,
        head=lambda embeddings: head(embeddings, training=False),
        base_weights=weights,
        head_weights=[weight.value for weight in head.weights],
        embedding_shape=head.input_shape[1:],
        mean=_find_mean(head),
    )


def _find_mean(head: keras.Model) -> np.ndarray | float:
    """Returns the mean that a head subtracts from its input, float32 [channels]; 0 if it has no such layer."""
    means = [layer.mean for layer in head.layers if isinstance(layer, keras.layers.Normalization)]
    return np.ravel(keras.ops.convert_to_numpy(means[0])) if means else 0.0


def write_unscaled(path: str, base: keras.Model) -> None:
    """Writes the filters of a base that cannot be computed from folded ones into a SavedModel.

    These are filters with a scale near 0. With them, Keras' layers can be computed from the SavedModel; a test does it.
    The file is not written if there are none.

    Args:
        path: folder of the SavedModel.
        base: base that was folded.
    """
    kept: dict[str, Any] = {}  # for mypy, which takes arrays by name for an option of savez
    for convolution, norm in pair_layers(base):
        if norm and (small := _find_small(norm)).any():
            kept |= {
                f"{convolution.name}/{i}": weight[..., small] for i, weight in enumerate(convolution.get_weights())
            }
    if kept:
        buffer = io.BytesIO()
        np.savez(buffer, **kept)
        tf.io.gfile.makedirs(os.path.dirname(os.path.join(path, UNSCALED)))
        with tf.io.gfile.GFile(os.path.join(path, UNSCALED), "wb") as file:
            file.write(buffer.getvalue())


def _find_small(norm: keras.layers.BatchNormalization) -> np.ndarray:
    """Returns which filters have a scale near 0, bool [filters]."""
    return np.abs(read_norm(norm)[0]) < _SMALL_SCALE
