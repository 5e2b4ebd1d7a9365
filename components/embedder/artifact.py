"""Artifact with the embeddings of one run: TFRecords of tf.Examples that hold an embedding instead of the image."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from components.example_files import list_split
from components.tfdata import without_autotune
from schema import features
from schema.features import EMBEDDING_SIZE
from serving.storage.whole_files import write_whole

_ROWS = 1024  # rows parsed at once; 8 MB
_TEXTS = (features.DIGEST, features.LABEL, features.PATH)


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Embeddings, labels and digests of the images of a split, in the order on disk.

    Attributes:
        embeddings: float32 [num_images, 2048].
        labels: class indices int64 [num_images].
        digests: sha256 of each image's bytes.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    digests: list[bytes]


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """Features of an example without the image: sha256 of the image's bytes, class name and path, as bytes."""

    digest: bytes
    label: bytes
    path: bytes


def read_rows(examples: str) -> list[ImageRow]:
    """Reads digests, labels and paths from a TFRecord file of ExampleGen, in the order of the file."""
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in _TEXTS}
    dataset = tf.data.TFRecordDataset(examples).batch(32).map(lambda records: tf.io.parse_example(records, spec))
    rows = []
    for batch in without_autotune(dataset).as_numpy_iterator():
        columns = (batch[name] for name in _TEXTS)
        rows += [ImageRow(bytes.fromhex(d.decode()), label, path) for d, label, path in zip(*columns, strict=True)]
    return rows


def write_embeddings(target: str, rows: Iterable[ImageRow], embeddings: np.ndarray) -> None:
    """Writes one TFRecord file of embeddings, whole or not at all: Beam may write a file twice.

    Args:
        target: path of the file.
        rows: digest, label and path of each image.
        embeddings: float32 [num_images, 2048].
    """
    with write_whole(target) as path, tf.io.TFRecordWriter(path) as writer:
        for row, embedding in zip(rows, embeddings, strict=True):
            writer.write(_make_example(row, embedding).SerializeToString(deterministic=True))


def _make_example(row: ImageRow, embedding: np.ndarray) -> tf.train.Example:
    """Builds the example of an image; in place, for protobuf copies what is handed to its constructors."""
    example = tf.train.Example()
    feature = example.features.feature
    texts = {features.DIGEST: row.digest.hex().encode(), features.LABEL: row.label, features.PATH: row.path}
    for name, text in texts.items():
        feature[name].bytes_list.value.append(text)
    feature[features.EMBEDDING].float_list.MergeFromString(_pack(embedding))
    return example


def _pack(values: np.ndarray) -> bytes:
    """Returns the wire format of a FloatList, field 1 packed, without a Python number for each value."""
    content, size = values.astype("<f4").tobytes(), bytearray()
    length = len(content)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x0a" + bytes([*size, length]) + content


def find_digest_limit(uri: str, split: str, most: int) -> bytes | None:
    """Returns the digest up to which a split has `most` images; None if the split has no more than these.

    A digest is as good as a random number, and stays: the images up to a digest are a sample that no run changes.

    Args:
        uri: URI of the artifact.
        split: name of the split.
        most: size of the sample, at least 1.
    """
    files = list_split(os.path.join(uri, f"Split-{split}"))
    digests = sorted(row.digest for file in files for row in read_rows(file))
    return digests[most - 1] if len(digests) > most else None


def read_embeddings(uri: str, split: str, classes: Sequence[str], digest_limit: bytes | None = None) -> Embedded:
    """Reads the embeddings of a split from the artifact.

    Args:
        uri: URI of the artifact.
        split: name of the split.
        classes: class names, in the order of the model's outputs.
        digest_limit: highest digest to read, see `find_digest_limit`; None reads all.
    """
    files = list_split(os.path.join(uri, f"Split-{split}"))
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in _TEXTS}
    spec[features.EMBEDDING] = tf.io.FixedLenFeature([EMBEDDING_SIZE], tf.float32)
    dataset = tf.data.TFRecordDataset(files).batch(_ROWS).map(lambda records: tf.io.parse_example(records, spec))
    index = {name.encode(): i for i, name in enumerate(classes)}
    embeddings: list[np.ndarray] = [np.zeros([0, EMBEDDING_SIZE], np.float32)]
    labels: list[int] = []
    digests: list[bytes] = []
    for batch in without_autotune(dataset).as_numpy_iterator():
        found = [bytes.fromhex(digest.decode()) for digest in batch[features.DIGEST]]
        kept = [row for row, digest in enumerate(found) if digest_limit is None or digest <= digest_limit]
        embeddings.append(batch[features.EMBEDDING][kept])
        labels += [index[label] for label in batch[features.LABEL][kept]]
        digests += [found[row] for row in kept]
    return Embedded(np.concatenate(embeddings), np.array(labels, np.int64), digests)
