"""Heat maps of a network: the parts of an image that speak for the most probable class, in stock TensorFlow ops.

Grad-CAM on the last feature maps (Selvaraju et al. 2017, equations 1 and 2): each channel is weighted with the gradient
of the class's output. Behind the feature maps stand global average pooling and a dense head, so the gradient of a
channel is the same at all positions, up to a factor the gradient of the embedding. The base is not differentiated.

The head begins with a standardization, so the maps are those of the standardized channels: the mean of a channel over
the training images is subtracted at each position. With one dense layer behind it, the mean of a map over its positions
is then the logit without its bias: the class activation map (Zhou et al. 2016). Without the means, a constant is
missing that is larger than the logit: of 500 photographs, 94 % of those that were taken for one of two classes had a
map of zeros.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

HEATMAP, RESIZE, ORIENTATION = "heatmap", "resize", "orientation"
STRIDE = 32  # pixels of the network's input to a cell of the heat map, in each direction


@dataclasses.dataclass(frozen=True)
class View:
    """How the preprocessing graph makes the network's square of a picture; see `components.transform.geometry`.

    Attributes:
        resize: "stretch", "crop" or "pad".
        orientation: "exif" or "ignore".
    """

    resize: str = "stretch"
    orientation: str = "exif"

    def describe(self, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns both as outputs of a signature, string [count] each."""
        return {RESIZE: tf.fill([count], self.resize), ORIENTATION: tf.fill([count], self.orientation)}


class ExplainedNetwork:
    """Network in inference mode, as functions of pixels that share one graph of the base.

    Attributes:
        predict: function from pixels float32 [N, size, size, 3] to the outputs float32 [N, num_classes], and the
            embeddings float32 [N, channels]; None in place of these without global average pooling.
        has_maps: False for a network without global average pooling, which `explain` cannot explain.
    """

    def __init__(self, network: "keras.Model"):
        """Splits the network at its last global average pooling."""
        import keras  # needed to export, not to load

        pixels = [tf.TensorSpec(network.input_shape, tf.float32, name="pixels")]
        pools = [layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
        self.has_maps = bool(pools)
        self._whole = network
        if pools:
            self._pool = pools[-1]
            base = keras.Model(network.inputs[0], self._pool.input)
            self._head = keras.Model(self._pool.output, network.outputs[0])
            self._mean = _find_mean(self._head)
            self._base = tf.function(lambda batch: base(batch, training=False), input_signature=pixels, autograph=False)
        # A tf.function, so that all signatures share one graph.
        self.predict = tf.function(self._predict, input_signature=pixels, autograph=False)

    def _predict(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        if not self.has_maps:
            return self._whole(pixels, training=False), None
        embeddings = self._pool(self._base(pixels))
        return self._head(embeddings, training=False), embeddings

    def explain(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Predicts and explains pixels.

        Args:
            pixels: float32 [N, size, size, 3].
        Returns:
            The outputs, float32 [N, num_classes]; the embeddings, float32 [N, channels]; and the heat maps of the
            highest outputs, float32 [N, h, w], where h = w = size / 32 for ResNet50. A heat map has 1 as its maximum,
            or is 0 everywhere.
        """
        maps = tf.cast(self._base(pixels), tf.float32)
        embeddings = self._pool(maps)
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            outputs = self._head(embeddings, training=False)
            highest = outputs * tf.one_hot(tf.argmax(outputs, axis=1), outputs.shape[1])
        weights = tape.gradient(highest, embeddings)
        heat = tf.nn.relu(tf.einsum("nhwc,nc->nhw", maps - self._mean, weights))
        return outputs, embeddings, _normalize(heat)


def _find_mean(head: "keras.Model") -> np.ndarray | float:
    """Returns what a head subtracts from its input first, float32 [channels]; 0 if it has no such layer."""
    import keras

    layers = [inner for layer in head.layers for inner in getattr(layer, "layers", [layer])]
    means = [layer.mean for layer in layers if isinstance(layer, keras.layers.Normalization)]
    return np.ravel(keras.ops.convert_to_numpy(means[0])) if means else 0.0


def _normalize(heat: tf.Tensor) -> tf.Tensor:
    """Divides each map by its maximum; a map of zeros stays as it is."""
    highest = tf.reduce_max(heat, axis=[1, 2], keepdims=True)
    return tf.minimum(tf.math.divide_no_nan(heat, highest), 1)
