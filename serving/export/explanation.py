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

import tensorflow as tf

from serving.export.network import Network

HEATMAP, RESIZE, ORIENTATION = "heatmap", "resize", "orientation"
STRIDE = 32  # pixels of the network's input to a cell of the heat map, in each direction


@dataclasses.dataclass(frozen=True)
class View:
    """Settings by which the preprocessing graph makes a square of a picture; see `components.transform.geometry`.

    Attributes:
        resize: "stretch", "crop" or "pad".
        orientation: "exif" or "ignore".
    """

    resize: str = "stretch"
    orientation: str = "exif"

    def describe(self, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns both as outputs of a signature, string [count] each."""
        return {RESIZE: tf.fill([count], self.resize), ORIENTATION: tf.fill([count], self.orientation)}


def explain(network: Network, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Predicts and explains images whose feature maps are known.

    Args:
        network: network that is served.
        maps: output of its base, float32 [N, h, w, channels].
    Returns:
        The outputs, float32 [N, num_classes]; the embeddings, float32 [N, channels]; and the heat maps of the highest
        outputs, float32 [N, h, w]. A heat map has 1 as its maximum, or is 0 everywhere.
    """
    embeddings = network.pool(maps)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        outputs = network.head(embeddings)
        highest = outputs * tf.one_hot(tf.argmax(outputs, axis=1), outputs.shape[1])
    weights = tape.gradient(highest, embeddings)
    heat = tf.nn.relu(tf.einsum("nhwc,nc->nhw", maps - network.mean, weights))
    return outputs, embeddings, _normalize(heat)


def _normalize(heat: tf.Tensor) -> tf.Tensor:
    """Divides each map by its maximum; a map of zeros stays as it is."""
    highest = tf.reduce_max(heat, axis=[1, 2], keepdims=True)
    return tf.minimum(tf.math.divide_no_nan(heat, highest), 1)
