"""Predicts validation images with the live version's head, from stored embeddings; no image goes through the base."""

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from components.embedder.artifact import read_embeddings, read_rows
from components.example_files import list_split
from components.network import resnet
from components.records.embedding import EmbeddingSummary
from components.records.predictions import Predictions
from schema import features
from schema.features import EMBEDDING_SIZE
from serving.export import signatures
from serving.releases.versions import Version


def predict_val(live: Version, embeddings: str, classes: Sequence[str]) -> Predictions | None:
    """Predicts the images of `val` with the live version.

    Only the head is read, because loading the whole SavedModel would take seconds.

    Args:
        live: live version.
        embeddings: folder of the Embedder's artifact.
        classes: class names of the labels.
    Returns:
        Predictions with one row per image and without a candidate; None if the version takes no embeddings of this
        key, or if its head does not have Graft's form.
    """
    key = EmbeddingSummary.read(embeddings).kind
    if key is None or live.problem or signatures.read_embedding_key(live.path) != key:
        return None
    head = _read_head(live)
    if head is None:
        return None
    files = list_split(os.path.join(embeddings, f"Split-{features.VAL}"))
    rows = [row for file in files for row in read_rows(file)]
    embedded = read_embeddings(embeddings, features.VAL, classes)
    return Predictions(
        classes=[],
        baseline_version=live.number,
        baseline_classes=list(live.record.classes),
        split=[features.VAL] * len(rows),
        digest=[row.digest.hex() for row in rows],
        path=[row.path.decode("utf-8", "replace") for row in rows],
        label=[row.label.decode() for row in rows],
        candidate=np.zeros([len(rows), 0], np.float32),
        baseline=np.asarray(head(tf.constant(embedded.embeddings), training=False), np.float32),
    )


def _read_head(live: Version) -> keras.Model | None:
    """Builds the head of a version; returns None if the configuration in its record does not fit the weights."""
    units = (live.record.config.model_extra or {}).get("head_units")
    if not isinstance(units, list) or not all(type(width) is int and width > 0 for width in units):
        return None
    head = resnet.build_head(np.zeros([1, EMBEDDING_SIZE], np.float32), units, len(live.record.classes))
    weights = signatures.read_last_weights(live.path, len(head.weights))
    if [array.shape for array in weights] != [tuple(weight.shape) for weight in head.weights]:
        return None
    head.set_weights(weights)
    return head
