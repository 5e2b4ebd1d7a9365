"""Score of the images that `accepted` goes by, from the embeddings of the network that is exported."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import logging

from components import progress
from components.embedder.artifact import Embedded
from components.embedder.backbone import FrozenBase
from components.network import resnet
from components.trainer.class_distance import fit_distance
from components.trainer.phase import HEAD
from components.trainer.settings import Settings
from components.trainer.training import Inputs, Trained, embed
from serving.export.class_distance import ClassDistance

_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class FittedScore:
    """Score of `class_distance`, fitted on `train`.

    Attributes:
        distance: class means and covariances of the embeddings of `train`.
        val: scores of the validation images, float32 [num_images], in any order.
    """

    distance: ClassDistance
    val: np.ndarray


def fit_score(frozen: FrozenBase, inputs: Inputs, trained: Trained, settings: Settings) -> FittedScore | None:
    """Fits the score on the embeddings of `train` by the trained network; returns None if that is not possible.

    A head on a frozen base has the embeddings of the Embedder. A fine-tuned or an augmented training runs `train` and
    `val` through the network once more, without augmentation: from the split layer on, where its output is kept.

    Args:
        frozen: base with the weights to export.
        inputs: data of the training.
        trained: result of the training.
        settings: settings of the training.
    """
    progress.report("measuring the distances of the classes")
    train, val = _embed_splits(frozen, inputs, trained.kept)
    distance, problem = fit_distance(train.embeddings, train.labels, len(settings.classes))
    if distance is None:
        logging.warning("Trainer: `accepted` goes by the largest probability: %s.", problem)
        return None
    return FittedScore(distance, score_embeddings(distance, val.embeddings))


def score_embeddings(distance: ClassDistance, embeddings: np.ndarray) -> np.ndarray:
    """Scores embeddings float32 [num_images, 2048] with the graph that is exported; float32 [num_images]."""
    score = distance.build()
    batches = (embeddings[start : start + _ROWS] for start in range(0, len(embeddings), _ROWS))
    parts = [score(tf.constant(batch)).numpy() for batch in batches]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _embed_splits(frozen: FrozenBase, inputs: Inputs, kept: str) -> tuple[Embedded, Embedded]:
    """Returns the embeddings of `train` and `val` by the network that is kept."""
    if kept == HEAD and inputs.train is not None and inputs.val is not None:
        return inputs.train, inputs.val
    if inputs.features_train is not None and inputs.features_val is not None:
        tail, batches = resnet.build_tail(frozen.network, str(frozen.split_layer)), inputs.features_train
        val = inputs.features_val
    else:
        tail, batches = resnet.build_embedder(frozen.network), inputs.require_images().plain
        val = inputs.require_images().val
    return Embedded(*embed(tail, batches), []), Embedded(*embed(tail, val), [])
