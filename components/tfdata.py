"""How tf.data runs here."""

import os

import tensorflow as tf

# As many batches at once as there are cores, and a few ready ahead. Not AUTOTUNE: its thread sleeps between two looks,
# and whoever drops an iterator waits for it to wake; measured, up to 3 seconds behind 12 seconds of work.
PARALLEL_CALLS = os.cpu_count() or 1
READY_BATCHES = 2


def shuffle(dataset: tf.data.Dataset, buffer_size: int, seed: int) -> tf.data.Dataset:
    """Shuffles anew each epoch, in an order that depends on the seed alone.

    `Dataset.shuffle` mixes its seed with TensorFlow's global one. Inside a function the global one is the function's.

    Args:
        dataset: what to shuffle.
        buffer_size: elements that wait to be drawn.
        seed: the same seed gives the same orders in every process.
    """

    @tf.function(autograph=False)
    def shuffled() -> tf.data.Dataset:
        tf.random.set_seed(seed)  # of this function
        return dataset.shuffle(buffer_size, seed=seed)

    return shuffled()


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset, whose iterators end at once."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
