"""Batches of one size for XLA, which compiles each shape anew: the last batch is padded with rows that do not count."""

from typing import Any

import keras
import tensorflow as tf

from components.tfdata import READY_BATCHES

_Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def pad_rows(rows: tf.Tensor, batch_size: int) -> tf.Tensor:
    """Appends rows of zeros to [rows, ...], up to [batch_size, ...]; rows <= batch_size."""
    padding = [[0, batch_size - tf.shape(rows)[0]]] + [[0, 0]] * (len(rows.shape) - 1)
    return tf.ensure_shape(tf.pad(rows, padding), [batch_size, *rows.shape[1:]])


def pad_batches(
    batches: tf.data.Dataset, batch_size: int, class_weights: dict[int, float] | None = None
) -> tf.data.Dataset:
    """Pads the last batch, and adds the weight of each row.

    Args:
        batches: (inputs [rows, ...], label indices int64 [rows]), rows <= batch_size.
        batch_size: number of rows of each batch in the result.
        class_weights: weight above 0 by label index; None for the same weight of all.
    Returns:
        Batches for a `PaddedNetwork`: (inputs, label indices, weights float32 [batch_size]), of one shape. The weight
        of padding is 0.
    """
    by_label = None if class_weights is None else [class_weights[label] for label in range(len(class_weights))]

    def pad(inputs: tf.Tensor, labels: tf.Tensor) -> _Batch:
        weights = tf.ones_like(labels, tf.float32) if by_label is None else tf.gather(tf.constant(by_label), labels)
        return pad_rows(inputs, batch_size), pad_rows(labels, batch_size), pad_rows(weights, batch_size)

    return batches.map(pad).prefetch(READY_BATCHES)


class PaddedNetwork(keras.Model):
    """Network that trains and validates on `pad_batches` as a Keras model does on the batches before the padding.

    Keras divides the loss of a batch by all of its rows, and counts all of them in its metrics: with half of the rows
    padding, the gradient would have half its length. Here the padding counts nowhere.
    """

    @classmethod
    def of(cls, network: keras.Model) -> "PaddedNetwork":
        """Makes a padded network with the layers, and so with the weights, of another."""
        return cls(network.inputs[0], network.outputs[0], name=network.name)

    def train_step(self, data: _Batch) -> dict[str, Any]:
        """Trains on a padded batch; returns the metrics so far."""
        inputs, labels, weights = data
        with tf.GradientTape() as tape:
            probabilities = self(inputs, training=True)
            loss = self._compute_mean(labels, probabilities, weights)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._measure(labels, probabilities, weights, loss)

    def test_step(self, data: _Batch) -> dict[str, Any]:
        """Validates on a padded batch; returns the metrics so far."""
        inputs, labels, weights = data
        probabilities = self(inputs, training=False)
        return self._measure(labels, probabilities, weights, self._compute_mean(labels, probabilities, weights))

    def _compute_mean(self, labels: tf.Tensor, probabilities: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Computes the weighted loss of a batch by its number of real rows."""
        all_rows, rows = tf.cast(tf.size(weights), tf.float32), tf.math.count_nonzero(weights, dtype=tf.float32)
        return self.compute_loss(None, labels, probabilities, weights * (all_rows / rows))

    def _measure(
        self, labels: tf.Tensor, probabilities: tf.Tensor, weights: tf.Tensor, loss: tf.Tensor
    ) -> dict[str, Any]:
        """Updates the metrics with the real rows, which all weigh the same; returns the metrics so far."""
        real = tf.cast(weights > 0, tf.float32)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.reduce_sum(real))
        return self.compute_metrics(None, labels, probabilities, real)
