"""The frozen base over images on disk: how it is built, what its outputs are called, and how they are computed."""

import dataclasses
import functools
import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.network import resnet
from components.row_store.shards import FeatureKey
from components.tfdata import READY_BATCHES
from components.transform.graph_digest import digest_output
from components.transform.pixels import read_uint8
from components.transform.preprocessing import from_uint8
from schema import features

EMBEDDING = "embedding"
_BATCH = 32  # more images at once are no faster on a CPU, and take memory


@dataclasses.dataclass(frozen=True)
class BaseSpec:
    """How to build the base.

    Attributes:
        weights: path of a weights file, or "random".
        seed: of random weights.
        image_size: in pixels.
        fine_tune_from: where phase 2 begins, as for `resnet.freeze_below`; "" if there is no phase 2.
    """

    weights: str
    seed: int
    image_size: int
    fine_tune_from: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "BaseSpec":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


class FrozenBase:
    """A built base behind its preprocessing graph.

    In float32 whatever phase 2 computes in: what the head is trained on is what it is served.

    Attributes:
        network: from `resnet.build_base`.
        split_layer: from `resnet.find_split_layer`; None if phase 2 begins with the image, or there is none.
        embedding_key: of the embeddings.
        extractor_key: of the feature extractor's output, that of the split layer; or None.
    """

    def __init__(self, spec: BaseSpec, transform_graph: str):
        """Builds the base.

        Args:
            spec: how.
            transform_graph: the folder of the transform graph.
        Raises:
            UsageError: if the weights file holds other weights, or no layer is called as `fine_tune_from` says.
        """
        self.network = resnet.build_base(spec.image_size, spec.weights, spec.seed)
        self.split_layer = resnet.find_split_layer(self.network, spec.fine_tune_from) if spec.fine_tune_from else None
        self._graph = tft.TFTransformOutput(transform_graph)
        weights = resnet.digest_weights(self.network)
        graph = digest_output(self._graph.transform_savedmodel_dir, features.PIXELS)
        self.embedding_key = FeatureKey(EMBEDDING, weights, graph, (features.EMBEDDING_SIZE,), "float32")
        self.extractor_key = None
        if self.split_layer:
            shape = tuple(self.network.get_layer(self.split_layer).output.shape[1:])
            self.extractor_key = FeatureKey(self.split_layer, weights, graph, shape, "bfloat16")

    def run(
        self, examples: str, keep: np.ndarray, with_features: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Runs images through the base, in batches.

        Args:
            examples: a TFRecord file of ExampleGen.
            keep: bool [num_images], which of its images.
            with_features: whether to give the output at the split layer as well.
        Yields:
            The positions of the images in the file, int64 [batch]; their embeddings float32 [batch, 2048]; and the
            output at the split layer, bfloat16 [batch, *extractor_key.shape], or None.
        """
        positions = np.flatnonzero(keep)
        forward = self._forward_both if with_features else self._forward
        done = 0
        for levels, _ in read_uint8([examples], self._transform, _BATCH, keep=keep).prefetch(READY_BATCHES):
            outputs = forward(levels)
            below = outputs[1].numpy() if with_features else None
            yield positions[done : done + len(levels)], outputs[0].numpy(), below
            done += len(levels)

    @functools.cached_property
    def _transform(self) -> tf.Module:
        return self._graph.transform_features_layer()

    @functools.cached_property
    def _forward(self) -> tf.types.experimental.GenericFunction:
        embedder = resnet.build_embedder(self.network)
        return self._compile(lambda pixels: (embedder(pixels, training=False),))

    @functools.cached_property
    def _forward_both(self) -> tf.types.experimental.GenericFunction:
        extractor, tail = resnet.split_base(self.network, str(self.split_layer))

        def forward(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            below = extractor(pixels, training=False)
            return resnet.pool(tail(below, training=False)), tf.cast(below, tf.bfloat16)

        return self._compile(forward)

    def _compile(self, forward: "tf.types.experimental.GenericFunction") -> tf.types.experimental.GenericFunction:
        """Traced once, whatever the size of the batch."""
        levels = tf.TensorSpec([None, *self.network.input_shape[1:]], tf.uint8)
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        return tf.function(
            lambda images: forward(from_uint8(images)),
            input_signature=[levels],
            jit_compile=has_gpu or None,
            autograph=False,
        )
