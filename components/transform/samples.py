"""A few images of a split, for a model server to be asked with."""

from collections.abc import Sequence

import tensorflow as tf

from components.tfdata import without_autotune
from schema import features

LARGEST = 1_000_000  # bytes
_LOOKED_AT = 256  # examples; where all are large, a whole split would be read for nothing


def sample_examples(files: Sequence[str], count: int, largest: int = LARGEST) -> list[bytes]:
    """Picks examples, spread over the files; the same ones each time.

    Args:
        files: TFRecords of tf.Examples.
        count: how many.
        largest: size of an example in bytes. Those above are left out; where all are, the smallest is taken.
    Returns:
        Serialized tf.Examples: up to `count`, none if there are none.
    """
    if not files:
        return []
    step = max(1, len(files) // count)
    spread = [file for first in range(step) for file in files[first::step]]
    records = tf.data.Dataset.from_tensor_slices(spread).interleave(tf.data.TFRecordDataset, cycle_length=count)
    found: list[bytes] = []
    smallest: list[bytes] = []
    for record in without_autotune(records.take(_LOOKED_AT)).as_numpy_iterator():
        if len(record) <= largest:
            found.append(record)
        if len(found) == count:
            break
        smallest = [min([record, *smallest], key=len)]
    return found or smallest


def get_image(example: bytes) -> bytes:
    """The encoded image of a serialized tf.Example."""
    values = tf.train.Example.FromString(example).features.feature[features.IMAGE].bytes_list.value
    return bytes(values[0])
