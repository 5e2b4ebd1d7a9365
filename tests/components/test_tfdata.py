"""Seeded shuffling, and iterators that end at once."""

import keras
import pytest
import tensorflow as tf
from global_seeds import seed_globally

from components.tfdata import shuffle


def read_epochs(dataset, epochs=3):
    return [[int(element) for element in dataset] for _ in range(epochs)]


@pytest.mark.parametrize("seed", [0, 5])
def test_the_order_is_that_of_tensorflow_seeded_with_the_seed_alone(seed):
    """Epoch by epoch, as with `tf.random.set_seed(seed)`; the oracle is `Dataset.shuffle` itself."""
    rows = tf.data.Dataset.range(20)
    keras.utils.set_random_seed(seed)
    expected = read_epochs(rows.shuffle(8, seed=seed))
    assert expected[0] != expected[1]
    for other in (11, 12):
        with seed_globally(other):
            assert read_epochs(shuffle(rows, 8, seed)) == expected


def test_a_shuffled_dataset_keeps_its_size_and_its_shapes():
    """Keras reads the cardinality and the element spec."""
    rows = tf.data.Dataset.from_tensor_slices((tf.zeros([5, 2]), tf.zeros([5], tf.int64)))
    shuffled = shuffle(rows, 5, 0)
    assert shuffled.element_spec == rows.element_spec
    assert shuffled.cardinality() == 5
