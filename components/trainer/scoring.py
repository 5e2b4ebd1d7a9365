"""Scores a network on the validation images, and returns its probabilities from the same pass."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from components import progress
from components.records.history import Score


@dataclasses.dataclass(frozen=True)
class Scored:
    """Result of a network on the validation images.

    Attributes:
        score: loss and accuracy.
        probabilities: probabilities float32 [num_images, classes], in the order of the images.
        labels: label indices int64 [num_images].
    """

    score: Score
    probabilities: np.ndarray
    labels: np.ndarray


def score(network: keras.Model, val: tf.data.Dataset) -> Scored:
    """Evaluates a network with its present weights, on one device.

    Args:
        network: compiled network.
        val: batches of the network's inputs and label indices.
    """
    progress.report("evaluating on the validation images")
    step = tf.function(
        lambda inputs, labels: measure_batch(network, inputs, labels),
        input_signature=val.element_spec,  # an open batch size, so that the smaller last batch does not trace again
        autograph=False,  # and no XLA: it is one pass
    )
    batches = [[output.numpy() for output in (*step(*batch), batch[1])] for batch in val]
    probabilities, hits, losses, labels = (np.concatenate(outputs) for outputs in zip(*batches, strict=True))
    measured = Score(loss=float(losses.mean(dtype=np.float64)), accuracy=float(hits.mean()))
    return Scored(measured, probabilities.astype(np.float32), labels.astype(np.int64))


def measure_batch(network: keras.Model, inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the probabilities of a batch, whether each prediction is right, and the batch's mean loss for each image.

    The loss is computed in the graph, as `evaluate` does: from the logits, which do not round to 0.
    """
    probabilities = network(inputs, training=False)
    loss = network.compute_loss(None, labels, probabilities, training=False)
    loss *= tf.distribute.get_strategy().num_replicas_in_sync  # Keras divides by the number of replicas
    hits = tf.equal(tf.argmax(probabilities, axis=1), tf.cast(labels, tf.int64))
    return probabilities, hits, tf.fill(tf.shape(hits), loss)
