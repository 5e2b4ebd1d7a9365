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
    scorer = Scorer(network)
    scorer.compile(jit_compile=network.jit_compile)
    probabilities, hits, losses = scorer.predict(val, verbose=0)
    measured = Score(loss=float(np.mean(losses, dtype=np.float64)), accuracy=float(np.mean(hits)))
    return Scored(measured, np.asarray(probabilities, np.float32))


class Scorer(keras.Model):
    """A network whose `predict` returns what `evaluate` measures beside the probabilities."""

    def __init__(self, network: keras.Model):
        """Shares the weights and the loss of a compiled network."""
        super().__init__(name="scorer")
        self.network = network

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Calls the network."""
        return self.network(inputs, training=training)

    def predict_step(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the probabilities of a batch, whether each is right, and for each the mean loss of the batch.

        The loss is computed here, as in `evaluate`: from the logits behind the probabilities, which are not rounded.
        """
        inputs, labels = data
        probabilities = self.network(inputs, training=False)
        loss = self.network.compute_loss(None, labels, probabilities, training=False)
        loss *= tf.distribute.get_strategy().num_replicas_in_sync  # Keras divides by it, for the sum over all devices
        hits = tf.equal(tf.argmax(probabilities, axis=1), tf.cast(labels, tf.int64))
        return probabilities, hits, tf.fill(tf.shape(hits), loss)
