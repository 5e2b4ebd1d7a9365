"""Images for training: uint8 pixels from the transform graph, a cache of them, and the network's float32 input.

A 12-megapixel photograph takes longer to decode than to run through the base; its resized uint8 pixels take 150 kB. So
if the files are larger than their uint8 pixels, these are kept on disk and later passes read them.
"""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from absl import logging

from components.example_files import list_files
from components.tfdata import PARALLEL_CALLS, READY_BATCHES, shuffle, without_autotune
from components.transform.preprocessing import from_uint8, to_uint8
from schema import features
from serving.storage.documents import Fields

_SHUFFLED_BATCHES = 8  # size of the buffer; it takes memory, and the order on disk already mixes the classes
_SAMPLED_RECORDS = 32  # for the mean size of an example; reading all records would be one more pass
_MAX_DISK_SHARE = 0.5  # of the free space; the rest is for the model and for other programs
_OFF = ("none", 0)


def read_uint8(
    file_patterns: list[str],
    transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    batch_size: int,
    shuffle_seed: int | None = None,
    cache: str | None = None,
) -> tf.data.Dataset:
    """Reads examples through the transform graph, as uint8 pixels.

    Args:
        file_patterns: patterns of TFRecord files, as for `list_files`.
        transform: transform graph, a function from raw to transformed features.
        batch_size: number of images a batch.
        shuffle_seed: seed of the order, another one each epoch; None keeps the order on disk, which mixes the classes.
        cache: prefix of cache files, written by the first whole pass and read by the later ones; None for no cache.
    Returns:
        Batches of (BGR pixels uint8 [batch, size, size, 3], label indices int64 [batch]).
    """
    raw_spec = {name: tf.io.FixedLenFeature([1], tf.string) for name in (features.IMAGE, features.LABEL)}

    @tf.autograph.experimental.do_not_convert  # AutoGraph has nothing to convert, and takes seconds in Keras and TFT
    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        transformed = transform(tf.io.parse_example(serialized, raw_spec))
        return to_uint8(transformed[features.PIXELS]), transformed[features.LABEL_INDEX][:, 0]

    records = tf.data.TFRecordDataset(list_files(file_patterns))
    images = without_autotune(records.batch(batch_size).map(decode, num_parallel_calls=PARALLEL_CALLS))
    if cache:
        images = images.cache(cache)
    if shuffle_seed is not None:  # after decoding: a file of the buffer may have megabytes
        images = shuffle(images.unbatch(), _SHUFFLED_BATCHES * batch_size, shuffle_seed).batch(batch_size)
    return images


def to_pixels(images: tf.data.Dataset, augment: Callable[[tf.Tensor], tf.Tensor] | None = None) -> tf.data.Dataset:
    """Converts uint8 pixels to the float32 input of the network.

    Args:
        images: dataset from `read_uint8`.
        augment: function from `build_augmentation`; None for no augmentation.
    Returns:
        Batches of (pixels float32 [batch, size, size, 3], label indices int64 [batch]).
    """
    if augment:
        # One batch after the other: in parallel, the random numbers of a batch would depend on the threads.
        images = images.map(lambda batch, labels: (augment(batch), labels))
    pixels = images.map(lambda batch, labels: (from_uint8(batch), labels), num_parallel_calls=PARALLEL_CALLS)
    return pixels.prefetch(READY_BATCHES)


class Augmentation(Fields):
    """Settings of the random changes of training images; 0 and "none" are off.

    Attributes:
        flip: "none", "horizontal", "vertical" or "horizontal_and_vertical".
        rotation: largest rotation, as a share of a full turn.
        zoom, contrast: factors of the Keras layers RandomZoom and RandomContrast.
    """

    flip: str = "none"
    rotation: float = 0.0
    zoom: float = 0.0
    contrast: float = 0.0

    @property
    def is_on(self) -> bool:
        """True if any change is on."""
        return self != Augmentation()


def build_augmentation(augmentation: Augmentation, seed: int) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Builds a function that changes images at random, for training alone.

    Args:
        augmentation: settings of the changes.
        seed: seed of the random numbers.
    Returns:
        A function from uint8 to float32 [batch, size, size, 3], values from 0 to 255 in and out; or None if all is off.
    """
    kinds = [
        (keras.layers.RandomFlip, augmentation.flip),
        (keras.layers.RandomRotation, augmentation.rotation),
        (keras.layers.RandomZoom, augmentation.zoom),
        (functools.partial(keras.layers.RandomContrast, value_range=(0, 255)), augmentation.contrast),
    ]
    # With one seed for all layers, the zoom of an image would follow from its rotation.
    layers = [layer(change, seed=seed + i) for i, (layer, change) in enumerate(kinds) if change not in _OFF]

    def augment(images: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return augment if layers else None


@contextlib.contextmanager
def cache_folder(file_patterns: list[str], image_size: int, passes: int, parent: str) -> Iterator[str | None]:
    """Creates a folder for cached uint8 pixels if a cache saves time; removes it when the context ends.

    Args:
        file_patterns: patterns of the TFRecord files of all splits to read.
        image_size: width and height of the resized images in pixels.
        passes: number of passes over each image.
        parent: parent folder.
    Yields:
        The folder, or None if each pass is to decode again. The log names the choice and the reason.
    """
    keep, reason = _choose_cache(list_files(file_patterns), image_size, passes, parent)
    logging.info("Resized images are %s: %s.", "kept on disk" if keep else "not kept on disk", reason)
    if not keep:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="uint8-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield folder


def _choose_cache(files: list[str], image_size: int, passes: int, parent: str) -> tuple[bool, str]:
    if passes < 2:
        return False, "they are read once"
    if "://" in parent:
        return False, f"{parent} is not on this machine"
    mean_bytes, count = _measure_examples(files)
    resized_bytes = image_size**2 * 3
    sizes = f"an example has {mean_bytes / 1e3:,.0f} kB on average, resized {resized_bytes / 1e3:,.0f} kB"
    if mean_bytes <= resized_bytes:
        return False, sizes
    os.makedirs(parent, exist_ok=True)
    needed, free = count * resized_bytes, shutil.disk_usage(parent).free
    disk = f"some {count:,.0f} of them need {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free"
    if needed > _MAX_DISK_SHARE * free:
        return False, f"{disk}, less than twice as much"
    return True, f"{sizes}; {disk}; they are read {passes} times"


def _measure_examples(files: list[str]) -> tuple[float, float]:
    """Estimates the mean size in bytes and the number of examples, from the first ones and the sizes of the files."""
    sample = [len(record.numpy()) for record in tf.data.TFRecordDataset(files).take(_SAMPLED_RECORDS)]
    mean_bytes = sum(sample) / max(len(sample), 1)
    framing = 16  # bytes of length and checksums around a TFRecord
    return mean_bytes, sum(tf.io.gfile.stat(name).length for name in files) / (mean_bytes + framing)
