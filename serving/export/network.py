"""Network to export, and the origin of its base."""

import dataclasses
import os
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from serving.storage.documents import Document
from serving.storage.saved_model import EXTRA_ASSETS

_Function = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Network:
    """Network in three steps, of stock TensorFlow ops, with its variables.

    Attributes:
        input_shape: (None, size, size, 3).
        base: function from pixels float32 [batch, size, size, 3] to the feature map float32 [batch, h, w, channels].
        pool: function from the feature map to embeddings float32 [batch, channels].
        head: function from embeddings to logits float32 [batch, num_classes].
        base_weights, head_weights: variables of base and head.
        mean: mean that the head subtracts from embeddings first, float32 [channels]; 0 for a head that subtracts none.
        embedding_shape: shape of an embedding; None for a network whose embeddings nobody asks with.
    """

    input_shape: tuple[int | None, ...]
    base: _Function
    pool: _Function
    head: _Function
    base_weights: list[tf.Variable]
    head_weights: list[tf.Variable]
    embedding_shape: tuple[int, ...] | None = None
    mean: np.ndarray | float = 0.0


class BaseOrigin(Document):
    """Weights that a served base was made of.

    Attributes:
        weights: name of the weights file, or "random".
        digest: digest of the base before its training, see `resnet.digest_weights`.
        fine_tuned_from: first layers that phase 2 trained, as in the configuration; "" if the base is as it was.
        precision: type of kernels and biases; in bfloat16, the base computes in bfloat16 as well.
    """

    FILE: ClassVar[str] = "base.json"

    format: Literal[1] = 1
    weights: str
    digest: str
    fine_tuned_from: str
    precision: Literal["float32", "bfloat16"] = "float32"


def write_origin(path: str, origin: BaseOrigin) -> None:
    """Writes the origin of the base beside a SavedModel, into `assets.extra/base.json`."""
    folder = os.path.join(path, EXTRA_ASSETS)
    tf.io.gfile.makedirs(folder)
    origin.write(folder)
