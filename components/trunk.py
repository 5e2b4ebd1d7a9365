"""What phase 2 starts from: the output of the base below the layers that it trains, read from the embedding store."""

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from components import progress
from components.base import FrozenBase
from components.embedding_store import EmbeddingStore, Rows
from components.embeddings import Embedded, read_rows


class TrunkBatches(keras.utils.PyDataset):
    """Batches of the trunk's outputs and label indices.

    Each batch: bfloat16 [batch, *kind.shape] and int64 [batch].
    """

    def __init__(self, rows: Rows, images: Embedded, batch_size: int, seed: int | None = None):
        """Looks the images up; nothing is read yet.

        Args:
            rows: of the store; has all of the images.
            images: whose digests and labels.
            batch_size: images a batch.
            seed: shuffles anew each epoch; None keeps the order.
        """
        super().__init__()
        self._rows = rows
        self._positions = rows.find(images.digests)
        self._labels = images.labels
        self._batch_size = batch_size
        self._random = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(self._labels))
        self.on_epoch_end()

    def __len__(self) -> int:
        """How many batches."""
        return -(-len(self._labels) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one batch."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._rows.read(self._positions[chosen]), self._labels[chosen]

    def on_epoch_end(self) -> None:
        """Shuffles for the next epoch."""
        if self._random:
            self._random.shuffle(self._order)


def open_trunk(frozen: FrozenBase, store: str, example_files: Sequence[str]) -> tuple[Rows, int]:
    """Opens the outputs of the trunk; computes those that are not there, or damaged.

    The Embedder has computed them, but its artifact may be older than the store: rows may have been pruned since.

    Args:
        frozen: the base.
        store: the folder of the embedding store.
        example_files: TFRecord files of ExampleGen, with the images that phase 2 trains and validates on.
    Returns:
        Rows that have all of these images; and how many had to be computed.
    """
    assert frozen.trunk_kind is not None
    trunk = EmbeddingStore(store, frozen.trunk_kind)
    rows = trunk.open()
    digests = {file: [image.digest for image in read_rows(file)] for file in example_files}
    for images in digests.values():
        rows.check(rows.find(images))
    # Only now: a damaged row takes its whole shard with it, rows of other files included.
    missing = {file: rows.find(images) < 0 for file, images in digests.items()}
    total = sum(int(todo.sum()) for todo in missing.values())
    for file, todo in missing.items():
        if not todo.any():
            continue
        with trunk.append() as append:
            for indices, _, below in frozen.run(file, todo, with_trunk=True):
                append([digests[file][i] for i in indices], np.asarray(below))
                progress.report("images through the trunk", len(indices), total)
    return (trunk.open() if total else rows), total


def list_files(patterns: Sequence[str]) -> list[str]:
    """The files that patterns stand for, in order."""
    return sorted(os.fspath(name) for pattern in patterns for name in tf.io.gfile.glob(pattern))
