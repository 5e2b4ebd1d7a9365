"""Predicts validation images with the live version, from stored embeddings; no image goes through the base."""

import logging
import os

import numpy as np
import tensorflow as tf

from components.embedder.artifact import read_rows
from components.example_files import list_split
from components.records.embedding import EmbeddingSummary
from components.records.predictions import Predictions
from schema import features
from schema.errors import UsageError
from serving.client import predict
from serving.export import signatures
from serving.releases.versions import Version

_BATCH_ROWS = 1024  # 8 MB of embeddings


def predict_val(live: Version, embeddings: str) -> Predictions | None:
    """Predicts the images of `val` with the live version.

    The exported signature computes the probabilities: mean and variance of the embeddings are constants of its graph,
    which the checkpoint lacks.

    Args:
        live: live version.
        embeddings: folder of the Embedder's artifact.
    Returns:
        Predictions with one row per image and without a candidate; None if the version takes no embeddings of this
        key, or cannot be loaded.
    """
    key = EmbeddingSummary.read(embeddings).kind
    if key is None or live.problem or signatures.read_embedding_key(live.path) != key:
        return None
    try:
        model = predict.load_signature(live.path, signatures.EMBEDDED_EXAMPLES)
    except UsageError as error:
        logging.warning("Evaluator: no predictions of val by version %s: %s", live.number, error)
        return None
    files = list_split(os.path.join(embeddings, f"Split-{features.VAL}"))
    rows = [row for file in files for row in read_rows(file)]
    return Predictions(
        classes=[],
        baseline_version=live.number,
        baseline_classes=list(live.record.classes),
        split=[features.VAL] * len(rows),
        digest=[row.digest.hex() for row in rows],
        path=[row.path.decode("utf-8", "replace") for row in rows],
        label=[row.label.decode() for row in rows],
        candidate=np.zeros([len(rows), 0], np.float32),
        baseline=_predict(model, files, len(live.record.classes)),
    )


def _predict(model: tf.types.experimental.ConcreteFunction, files: list[str], width: int) -> np.ndarray:
    """Predicts the embeddings in TFRecord files; returns probabilities float32 [num_images, width]."""
    batches = tf.data.TFRecordDataset(files).batch(_BATCH_ROWS)
    probabilities = [model(examples=batch)["probabilities"].numpy() for batch in batches]
    return np.concatenate([np.zeros([0, width], np.float32), *probabilities])
