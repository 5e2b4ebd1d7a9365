"""Settings of tf.data: parallelism, seeded shuffling, and no autotuning."""

import tensorflow as tf

from serving.process.cores import count_cores

# One parallel call per core, and a few batches ready ahead. The calls run in the pool of TensorFlow, one thread a core.
# Not AUTOTUNE: its thread sleeps between measurements, and deleting an iterator waits until the thread wakes. That wait
# took up to 3 seconds after 12 seconds of work.
PARALLEL_CALLS = count_cores()
READY_BATCHES = 2


def shuffle(dataset: tf.data.Dataset, buffer_size: int, seed: int) -> tf.data.Dataset:
    """Shuffles a dataset again in each epoch, in an order that depends on the seed alone.

    `Dataset.shuffle` mixes its seed with TensorFlow's global seed. A tf.function has a global seed of its own.

    Args:
        dataset: dataset to shuffle.
        buffer_size: size of the shuffle buffer, in elements.
        seed: seed of the order; the same seed gives the same orders in every process.
    """

    @tf.function(autograph=False)
    def shuffled() -> tf.data.Dataset:
        tf.random.set_seed(seed)  # the seed of this tf.function, not of the process
        return dataset.shuffle(buffer_size, seed=seed)

    return shuffled()


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset with autotuning off, so that deleting an iterator does not wait."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
