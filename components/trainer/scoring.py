"""Scores a network on the validation images, and keeps its probabilities of the same pass."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components import progress
from components.records.history import Score


@dataclasses.dataclass(frozen=True)
class Scored:
    """A network on the validation images.

    Attributes:
        score: its figures.
        probabilities: float32 [num_images, classes], in the order of the images.
    """

    score: Score
    probabilities: np.ndarray


def score(network: keras.Model, val: tf.data.Dataset) -> Scored:
    """Evaluates a network as it is now, whichever epoch that is.

    Args:
        network: compiled.
        val: batches of what it takes and label indices.
    """
    progress.report("evaluating on the validation images")
    asked = _WithLabels(network)
    asked.compile(jit_compile=network.jit_compile)
    probabilities, labels = asked.predict(val, verbose=0)
    loss = network.compute_loss(None, tf.constant(labels), tf.constant(probabilities), training=False)
    hits = np.count_nonzero(probabilities.argmax(axis=1) == labels)
    network.reset_metrics()
    return Scored(Score(loss=float(loss), accuracy=hits / len(labels)), np.asarray(probabilities, np.float32))


class _WithLabels(keras.Model):  # type: ignore[misc]
    """A network whose `predict` hands the labels on beside the probabilities: `evaluate` returns no probabilities."""

    def __init__(self, network: keras.Model):
        """Shares the weights of a network."""
        super().__init__()
        self.network = network

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Calls the network."""
        return self.network(inputs, training=training)

    def predict_step(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the probabilities and the labels of a batch."""
        inputs, labels = data
        return self(inputs, training=False), labels
