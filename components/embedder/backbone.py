"""Frozen base: builds it from a specification, computes the keys of its outputs, and runs it over images on disk."""

import collections
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.devices import BASE, find_device, pays_xla
from components.embedder.arithmetic import count_batch, describe_here
from components.network import resnet
from components.network.folded import FoldedBase, fold_weights, make_steps, pool
from components.network.padded import pad_rows
from components.row_store.shards import FeatureKey
from components.tfdata import PARALLEL_CALLS, READY_BATCHES, without_autotune
from components.transform.graph_digest import digest_output
from components.transform.preprocessing import from_uint8, to_uint8
from schema import features

EMBEDDING = "embedding"
_DECODED = 32  # images that one call decodes; more take memory, and are no faster
_AHEAD = PARALLEL_CALLS + READY_BATCHES  # calls that are begun before their images are taken
_SMALL = 128  # width of an image in pixels
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# Positions in a file, int64 [batch], and pixels of these images, uint8 [batch, size, size, 3].
Batches = Iterator[tuple[np.ndarray, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class BaseSpec:
    """Specification of the base.

    Attributes:
        weights: path of a weights file, or "random".
        seed: seed of random weights.
        image_size: width and height in pixels.
        fine_tune_from: first block that phase 2 trains, as for `resnet.freeze_below`; "" without a phase 2.
        precision: type that the frozen base computes in, "float32" or "bfloat16"; or "auto", which the Embedder chooses
            by its devices.
    """

    weights: str
    seed: int
    image_size: int
    fine_tune_from: str
    precision: str = "float32"

    def to_json(self) -> str:
        """Returns the specification as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "BaseSpec":
        """Parses the output of `to_json`."""
        return cls(**json.loads(text))


class FrozenBase:
    """Base behind its preprocessing graph, with each BatchNorm folded into the convolution before it.

    Attributes:
        network: model from `resnet.build_base`.
        split_layer: name of a layer, from `resnet.find_split_layer`; None without a phase 2, or if phase 2 trains all.
        embedding_key: feature key of the embeddings.
        extractor_key: feature key of the output of the split layer; None without a split layer.
        xla: whether XLA compiles the forward passes; then all batches have one size.
    """

    def __init__(self, spec: BaseSpec, transform_graph: str, images: int = 0):
        """Builds the base.

        Args:
            spec: specification of the base.
            transform_graph: folder of the transform graph.
            images: number of images of the run, for `devices.pays_xla`: all that ExampleGen has counted, not those that
                the store lacks, so that what a cache holds decides nothing. 0 for a few images.
        Raises:
            UsageError: if the weights file holds other weights, or no layer has the prefix `fine_tune_from`.
        """
        self.network = resnet.build_base(spec.image_size, spec.weights, spec.seed)
        self.split_layer = resnet.find_split_layer(self.network, spec.fine_tune_from) if spec.fine_tune_from else None
        self._precision = spec.precision
        self.xla = pays_xla(BASE, images, 1, find_device())
        self._graph = tft.TFTransformOutput(transform_graph)
        weights = resnet.digest_weights(self.network)
        graph = digest_output(self._graph.transform_savedmodel_dir, features.PIXELS)
        shape, arithmetic = (features.EMBEDDING_SIZE,), describe_here(spec.precision)
        self.embedding_key = FeatureKey(EMBEDDING, weights, graph, shape, "float32", arithmetic)
        self.extractor_key = None
        if self.split_layer:
            shape = tuple(self.network.get_layer(self.split_layer).output.shape[1:])
            self.extractor_key = FeatureKey(self.split_layer, weights, graph, shape, "bfloat16", arithmetic)

    def read(self, examples: str, keep: np.ndarray) -> Batches:
        """Begins to decode images in threads, which stay a few batches ahead of what is taken.

        tf.data would take up to a second to make an iterator of the graph for each file: in this time a card computes
        the embeddings of two thousand images.

        Args:
            examples: path of a TFRecord file of ExampleGen.
            keep: bool [num_images], true for the images of the file to decode.
        Returns:
            Batches for `run`.
        """
        records = without_autotune(tf.data.TFRecordDataset(examples)).as_numpy_iterator()
        decoded = _map_ahead(self._decoders, self._decode, _group(itertools.compress(records, keep), _DECODED))
        size, positions = count_batch(), np.flatnonzero(keep)
        batches = (tf.concat(parts, axis=0) for parts in _group(decoded, size // _DECODED))
        return zip(np.split(positions, range(size, len(positions), size)), batches, strict=True)

    def run(self, batches: Batches, with_features: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Runs images through the base, with the weights that it had in the first run.

        The base computes a batch in a thread of its own while the caller copies and writes the one before.

        Args:
            batches: batches of `read`.
            with_features: True to yield the output of the split layer as well.
        Yields:
            The positions of the images in the file, int64 [batch]; their embeddings float32 [batch, 2048]; and the
            output of the split layer, bfloat16 [batch, *extractor_key.shape], or None.
        """
        forward = self._forward_both if with_features else self._forward
        at_once = self._count_at_once()
        with ThreadPoolExecutor(at_once, thread_name_prefix="base") as threads:
            begun: collections.deque[tuple[np.ndarray, Future[tuple[tf.Tensor, ...]]]] = collections.deque()
            for positions, pixels in batches:
                begun.append((positions, threads.submit(forward, pixels)))
                if len(begun) > at_once:
                    yield _take(*begun.popleft())
            yield from itertools.starmap(_take, begun)

    def _count_at_once(self) -> int:
        """Returns the number of batches that the base computes at once: two of small images on a processor.

        Layers of small images are too small to keep two cores busy: two batches at once are 6 % faster at 64 px, and
        take 20 MB more. At 224 px they are 2 % faster, and take 190 MB more.
        """
        small = self.network.input_shape[1] <= _SMALL and not find_device().cards
        return min(2, PARALLEL_CALLS) if small else 1

    @functools.cached_property
    def _decoders(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="decode")

    @functools.cached_property
    def _decode(self) -> tf.types.experimental.GenericFunction:
        """Preprocessing graph, traced once: serialized examples [batch] to pixels uint8 [batch, size, size, 3]."""
        transform = self._graph.transform_features_layer()
        spec = {name: tf.io.FixedLenFeature([1], tf.string) for name in (features.IMAGE, features.LABEL)}

        def decode(records: tf.Tensor) -> tf.Tensor:
            with tf.device("/CPU:0"):
                return to_uint8(transform(tf.io.parse_example(records, spec))[features.PIXELS])

        return tf.function(decode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    @functools.cached_property
    def _folded(self) -> tuple[FoldedBase, list[tf.Tensor]]:
        """Steps of the base, and their weights in the type that the base computes in.

        The weights are tensors that the graphs capture. As constants of a graph they are copied several times.
        """
        return make_steps(self.network), [tf.cast(weight, self._precision) for weight in fold_weights(self.network)]

    @functools.cached_property
    def _forward(self) -> tf.types.experimental.GenericFunction:
        steps, weights = self._folded
        return self._compile(lambda pixels: (pool(steps.run(pixels, weights)),))

    @functools.cached_property
    def _forward_both(self) -> tf.types.experimental.GenericFunction:
        steps, weights = self._folded
        extractor, tail = steps.split(str(self.split_layer))
        count = extractor.num_weights

        def forward(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            extracted = extractor.run(pixels, weights[:count])
            return pool(tail.run(extracted, weights[count:])), tf.cast(extracted, tf.bfloat16)

        return self._compile(forward)

    def _compile(self, forward: "tf.types.experimental.GenericFunction") -> tf.types.experimental.GenericFunction:
        """Compiles a forward pass over uint8 pixels, traced once for all batch sizes."""
        size = count_batch() if self.xla else None
        compiled = tf.function(
            lambda images: forward(from_uint8(images)),
            input_signature=[tf.TensorSpec([size, *self.network.input_shape[1:]], tf.uint8)],
            jit_compile=self.xla or None,
            autograph=False,
        )
        if size is None:
            return compiled
        return lambda images: tuple(output[: len(images)] for output in compiled(pad_rows(images, size)))


def _group(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Groups items into lists of one size; the last one may be shorter."""
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group


def _map_ahead(
    threads: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Iterator[_Item]
) -> Iterator[_Result]:
    """Calls a function in threads, and yields the results in the order of the items. The first calls begin at once."""
    begun = collections.deque(threads.submit(function, item) for item in itertools.islice(items, _AHEAD))

    def take() -> Iterator[_Result]:
        while begun:
            result = begun.popleft().result()
            begun.extend(threads.submit(function, item) for item in itertools.islice(items, 1))
            yield result

    return take()


def _take(
    positions: np.ndarray, outputs: "Future[tuple[tf.Tensor, ...]]"
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Waits for the outputs of a batch, and copies them."""
    embeddings, *extracted = (output.numpy() for output in outputs.result())
    return positions, embeddings, extracted[0] if extracted else None
