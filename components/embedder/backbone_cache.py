"""What phase 2 starts from: the output of the base below the layers that it trains, read from the embedding store."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from components import progress
from components.embedder.artifact import Embedded, read_rows
from components.embedder.backbone import FrozenBase
from components.row_store.store import EmbeddingStore, Rows
from components.tfdata import READY_BATCHES, without_autotune


def read_features(rows: Rows, images: Embedded, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads what phase 2 starts from.

    Args:
        rows: of the store; has all of the images.
        images: whose digests and labels.
        batch_size: images a batch.
        shuffle_seed: another order each epoch; None keeps that of the images.
    Returns:
        Batches of (bfloat16 [batch, *shape of the split layer's output], label indices int64 [batch]).
    """
    positions = rows.find(images.digests)
    order = np.arange(len(positions))
    random = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)

    def read_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if random:
            random.shuffle(order)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield rows.read(positions[chosen]), images.labels[chosen]

    signature = tf.TensorSpec([None, *rows.key.shape], rows.key.dtype), tf.TensorSpec([None], tf.int64)
    batches = tf.data.Dataset.from_generator(read_batches, output_signature=signature)
    return without_autotune(batches.prefetch(READY_BATCHES))


def open_features(frozen: FrozenBase, store: str, example_files: Sequence[str]) -> tuple[Rows, int]:
    """Opens the outputs of the feature extractor; computes those that are not there, or damaged.

    The Embedder has computed them, but its artifact may be older than the store: rows may have been pruned since.

    Args:
        frozen: the base.
        store: the folder of the embedding store.
        example_files: TFRecord files of ExampleGen, with the images that phase 2 trains and validates on.
    Returns:
        Rows that have all of these images; and how many had to be computed.
    """
    if frozen.extractor_key is None:
        raise ValueError("open_features: expected a base that is cut; phase 2 trains all of this one, or there is none")
    features = EmbeddingStore(store, frozen.extractor_key)
    rows = features.open()
    digests = {file: [image.digest for image in read_rows(file)] for file in example_files}
    for images in digests.values():
        rows.check(rows.find(images))
    # Only now: a damaged row takes its whole shard with it, rows of other files included.
    missing = {file: rows.find(images) < 0 for file, images in digests.items()}
    total = sum(int(todo.sum()) for todo in missing.values())
    for file, todo in missing.items():
        if not todo.any():
            continue
        with features.append() as append:
            for indices, _, below in frozen.run(file, todo, with_features=True):
                append([digests[file][i] for i in indices], np.asarray(below))
                progress.report("images through the trunk", len(indices), total)
    return (features.open() if total else rows), total
