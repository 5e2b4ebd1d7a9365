"""Features that phase 2 starts from: outputs of the frozen feature extractor, read from the embedding store."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from components import progress
from components.embedder.artifact import Embedded, read_rows
from components.embedder.backbone import FrozenBase
from components.row_store.store import EmbeddingStore, Rows
from components.tfdata import READY_BATCHES, without_autotune


def read_features(rows: Rows, images: Embedded, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Makes a dataset of the features that phase 2 starts from.

    Args:
        rows: rows of the store, from `open_features`; they include all images.
        images: digests and labels of the images to read.
        batch_size: number of images a batch.
        shuffle_seed: seed of the order, another one each epoch; None keeps the order of `images`.
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
    """Opens the stored outputs of the feature extractor; computes the missing and the damaged ones.

    The Embedder has stored all of them, but TFX may reuse an old run of the Embedder, and rows may be pruned since.

    Args:
        frozen: base with a split layer.
        store: folder of the embedding store.
        example_files: TFRecord files of ExampleGen, with the images that phase 2 trains and validates on.
    Returns:
        Rows with all of these images, and the number of computed images.
    Raises:
        ValueError: if the base has no split layer.
    """
    if frozen.extractor_key is None:
        raise ValueError("open_features: expected a base with a split layer; without it, no features are stored")
    features = EmbeddingStore(store, frozen.extractor_key)
    rows = features.open()
    digests = {file: [image.digest for image in read_rows(file)] for file in example_files}
    for images in digests.values():
        rows.check(rows.find(images))
    # After all checks: a shard with a damaged row is set aside with all its rows, even rows of other files.
    missing = {file: rows.find(images) < 0 for file, images in digests.items()}
    total = sum(int(todo.sum()) for todo in missing.values())
    for file, todo in missing.items():
        if not todo.any():
            continue
        with features.append() as append:
            for indices, _, extracted in frozen.run(frozen.read(file, todo), with_features=True):
                append([digests[file][i] for i in indices], np.asarray(extracted))
                progress.report("images through the feature extractor", len(indices), total)
    return (features.open() if total else rows), total
