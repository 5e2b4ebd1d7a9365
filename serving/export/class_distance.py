"""Distance of an embedding to the classes of a training, relative to its distance to all images, in stock ops."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ClassDistance:
    """Means and covariances of the embeddings of `train`, as the score of an embedding needs them.

    The axes are those in which the classes differ, scaled so that the covariance within the classes is 1 and the one
    between them is diagonal. In all other directions both distances are equal, and cancel.

    Attributes:
        mean: mean of all embeddings, float32 [2048].
        axes: the axes as columns, float32 [2048, k].
        centers: mean of each class on the axes, from `mean`, float32 [num_classes, k].
        spread: variance of all embeddings on each axis, 1 plus the one between the classes; float32 [k].
    """

    mean: np.ndarray
    axes: np.ndarray
    centers: np.ndarray
    spread: np.ndarray

    def build(self) -> "DistanceScore":
        """Returns the score as a module, whose constants a SavedModel keeps once."""
        return DistanceScore(self)


class DistanceScore(tf.Module):
    """Negative relative Mahalanobis distance after Ren et al. (2021), https://arxiv.org/abs/2106.09022.

    The distance to the nearest class mean under the covariance within the classes, less the distance to the mean of
    all images under the covariance of all images; both are squared.
    """

    def __init__(self, distance: ClassDistance):
        """Makes the constants of the graph."""
        super().__init__(name="distance")
        self.mean, self.axes = tf.constant(distance.mean), tf.constant(distance.axes)
        self.centers, self.spread = tf.constant(distance.centers), tf.constant(distance.spread)

    def __call__(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Scores embeddings, float32 [N, 2048]; returns float32 [N], higher for an image of a known class.

        The nearest class comes from a product of matrices, which needs no tensor [N, num_classes, k], and its distance
        from differences, which round less.
        """
        placed = tf.matmul(embeddings - self.mean, self.axes)
        nearness = 2 * tf.matmul(placed, self.centers, transpose_b=True) - tf.reduce_sum(self.centers**2, axis=1)
        nearest = tf.gather(self.centers, tf.argmax(nearness, axis=1))
        return tf.reduce_sum(placed**2 / self.spread - (placed - nearest) ** 2, axis=1)
