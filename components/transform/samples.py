"""Sample images of a split, for requests to a model server."""

from collections.abc import Sequence

import tensorflow as tf

from components.tfdata import without_autotune
from schema import features

LARGEST = 1_000_000  # bytes of an example
_MAX_READ = 256  # examples; a split of large examples would otherwise be read to its end


def sample_examples(files: Sequence[str], count: int) -> list[bytes]:
    """Picks examples of at most LARGEST bytes, spread over the files; the same ones each time.

    Args:
        files: TFRecord files of tf.Examples.
        count: number of examples to pick.
    Returns:
        Up to `count` serialized tf.Examples. If all are larger than LARGEST, the smallest.
    """
    if not files:
        return []
    step = max(1, len(files) // count)
    spread = [file for first in range(step) for file in files[first::step]]
    records = tf.data.Dataset.from_tensor_slices(spread).interleave(tf.data.TFRecordDataset, cycle_length=count)
    found: list[bytes] = []
    smallest: list[bytes] = []
    for record in without_autotune(records.take(_MAX_READ)).as_numpy_iterator():
        if len(record) <= LARGEST:
            found.append(record)
        if len(found) == count:
            break
        smallest = [min([record, *smallest], key=len)]
    return found or smallest


def get_image(example: bytes) -> bytes:
    """Extracts the encoded image from a serialized tf.Example."""
    values = tf.train.Example.FromString(example).features.feature[features.IMAGE].bytes_list.value
    return bytes(values[0])
