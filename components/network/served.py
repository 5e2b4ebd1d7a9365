"""Network to export: a folded base with variables for its kernels and biases, and a head; and the way back."""

import io
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.network.folded import fold_weights, make_steps, pair_layers, pool, read_norm
from serving.export.network import Network
from serving.export.signatures import read_first_weights
from serving.storage import side_files
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
    """Writes the filters of a base that cannot be computed from folded ones into a SavedModel, for `restore_base`.

    These are filters with a scale near 0. The file is not written if there are none.

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


def restore_base(path: str, base: keras.Model) -> None:
    """Sets the convolutions of a base to those that a SavedModel was folded from.

    Args:
        path: folder of a SavedModel with a folded base.
        base: base with the weights that `assets.extra/base.json` names, whose BatchNorm no training changes; its
            convolutions are overwritten.
    """
    pairs = pair_layers(base)
    weights = iter(read_first_weights(path, 2 * len(pairs)))
    kept = _read_unscaled(path)
    for (convolution, norm), kernel, bias in zip(pairs, weights, weights, strict=False):
        unfolded = [kernel.astype(np.float64), bias.astype(np.float64)]
        if norm:
            scale, mean, offset = read_norm(norm)
            small = _find_small(norm)
            divisor = np.where(small, 1.0, scale)
            unfolded = [unfolded[0] / divisor, (unfolded[1] - offset) / divisor + mean]
        unfolded = unfolded[: len(convolution.weights)]
        for index, weight in enumerate(unfolded):
            if norm and small.any():
                weight[..., small] = kept[f"{convolution.name}/{index}"]
        convolution.set_weights(unfolded)


def _find_small(norm: keras.layers.BatchNormalization) -> np.ndarray:
    """Returns which filters have a scale near 0, bool [filters]."""
    return np.abs(read_norm(norm)[0]) < _SMALL_SCALE


def _read_unscaled(path: str) -> dict[str, np.ndarray]:
    content = side_files.read_bytes(os.path.join(path, UNSCALED))
    if content is None:
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
