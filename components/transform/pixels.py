"""Reads images for training: grey levels through the transform graph, and from them what the network sees.

A 12-megapixel photograph takes longer to decode than to run through the base; its resized levels take 150 kB. So
where files are larger than their levels, the levels are kept on disk, and later passes read these.
"""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from components.example_files import list_files
from components.tfdata import PARALLEL_CALLS, READY_BATCHES, shuffle, without_autotune
from components.transform.preprocessing import from_uint8, to_uint8
from schema import features
from serving.storage.documents import Fields

_SHUFFLED_BATCHES = 8  # the buffer is memory, and the order on disk mixes the classes already
_SAMPLED_RECORDS = 32  # tell the mean size of an example; all of them would be a pass of their own
_MAX_DISK_SHARE = 0.5  # of what is free; the rest is for the model, and for others
_OFF = ("none", 0)


def read_uint8(
    file_patterns: list[str],
    transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    batch_size: int,
    shuffle_seed: int | None = None,
    cache: str | None = None,
    keep: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Reads examples through the transform graph.

    Args:
        file_patterns: of TFRecord files.
        transform: the transform graph, raw features to transformed ones.
        batch_size: images a batch.
        shuffle_seed: shuffles anew each epoch; None keeps the order on disk, which mixes the classes.
        cache: prefix of the files that the first whole pass writes and the later ones read; None decodes each time.
        keep: bool [num_records], which examples to read, by their order on disk; None reads all.
    Returns:
        Batches of (grey levels uint8 [batch, size, size, 3], label indices int64 [batch]).
    """
    raw_spec = {name: tf.io.FixedLenFeature([1], tf.string) for name in (features.IMAGE, features.LABEL)}

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it in Keras and TFT takes seconds
    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        transformed = transform(tf.io.parse_example(serialized, raw_spec))
        return to_uint8(transformed[features.PIXELS]), transformed[features.LABEL_INDEX][:, 0]

    records = tf.data.TFRecordDataset(list_files(file_patterns))
    if keep is not None:
        wanted = tf.constant(keep)
        records = records.enumerate().filter(lambda index, _: wanted[index]).map(lambda _, record: record)
    levels = without_autotune(records.batch(batch_size).map(decode, num_parallel_calls=PARALLEL_CALLS))
    if cache:
        levels = levels.cache(cache)
    if shuffle_seed is not None:  # behind the decoding: a file may have megabytes
        levels = shuffle(levels.unbatch(), _SHUFFLED_BATCHES * batch_size, shuffle_seed).batch(batch_size)
    return levels


def to_pixels(levels: tf.data.Dataset, augment: Callable[[tf.Tensor], tf.Tensor] | None = None) -> tf.data.Dataset:
    """Turns grey levels into what the network sees.

    Args:
        levels: from `read_uint8`.
        augment: from `build_augmentation`; None leaves the images as they are.
    Returns:
        Batches of (pixels float32 [batch, size, size, 3], label indices int64 [batch]).
    """
    if augment:
        # One batch after the other: in parallel, chance would depend on which thread is first.
        levels = levels.map(lambda images, labels: (augment(images), labels))
    pixels = levels.map(lambda images, labels: (from_uint8(images), labels), num_parallel_calls=PARALLEL_CALLS)
    return pixels.prefetch(READY_BATCHES)


class Augmentation(Fields):
    """Random changes of training images; 0 and "none" are off.

    Attributes:
        flip: "none", "horizontal", "vertical" or "horizontal_and_vertical".
        rotation: factor of a full turn.
        zoom, contrast: factors, as those of the Keras layers of these names.
    """

    flip: str = "none"
    rotation: float = 0.0
    zoom: float = 0.0
    contrast: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return self != Augmentation()


def build_augmentation(augmentation: Augmentation, seed: int) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Builds random changes of images, for training alone.

    Args:
        augmentation: what to change, and how far.
        seed: of what is drawn.
    Returns:
        A function, uint8 to float32 [batch, size, size, 3], levels from 0 to 255 in and out; or None if all is off.
    """
    kinds = [
        (keras.layers.RandomFlip, augmentation.flip),
        (keras.layers.RandomRotation, augmentation.rotation),
        (keras.layers.RandomZoom, augmentation.zoom),
        (functools.partial(keras.layers.RandomContrast, value_range=(0, 255)), augmentation.contrast),
    ]
    # With one seed for all, an image would be zoomed as far as it is turned.
    layers = [layer(change, seed=seed + i) for i, (layer, change) in enumerate(kinds) if change not in _OFF]

    def augment(images: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return augment if layers else None


@contextlib.contextmanager
def cache_folder(file_patterns: list[str], image_size: int, passes: int, parent: str) -> Iterator[str | None]:
    """Makes a folder for grey levels where keeping them pays, and removes it in the end.

    Args:
        file_patterns: of the TFRecord files, of all splits that will be read.
        image_size: in pixels.
        passes: how often each image will be read.
        parent: where to make the folder.
    Yields:
        The folder, or None where each pass is to decode again; the log says which and why.
    """
    keep, reason = _choose_cache(list_files(file_patterns), image_size, passes, parent)
    logging.info("Resized images are %s: %s.", "kept on disk" if keep else "not kept on disk", reason)
    if not keep:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="levels-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield folder


def _choose_cache(files: list[str], image_size: int, passes: int, parent: str) -> tuple[bool, str]:
    if passes < 2:
        return False, "they are read once"
    if "://" in parent:
        return False, f"{parent} is not on this machine"
    mean_bytes, count = _measure_examples(files)
    level_bytes = image_size**2 * 3
    sizes = f"an example has {mean_bytes / 1e3:,.0f} kB on average, resized {level_bytes / 1e3:,.0f} kB"
    if mean_bytes <= level_bytes:
        return False, sizes
    os.makedirs(parent, exist_ok=True)
    needed, free = count * level_bytes, shutil.disk_usage(parent).free
    disk = f"some {count:,.0f} of them need {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free"
    if needed > _MAX_DISK_SHARE * free:
        return False, f"{disk}, less than twice as much"
    return True, f"{sizes}; {disk}; they are read {passes} times"


def _measure_examples(files: list[str]) -> tuple[float, float]:
    """Estimates the mean size in bytes of an example and their number, from the first some and the files' sizes."""
    sample = [len(record.numpy()) for record in tf.data.TFRecordDataset(files).take(_SAMPLED_RECORDS)]
    mean_bytes = sum(sample) / max(len(sample), 1)
    framing = 16  # bytes of length and checksums around a TFRecord
    return mean_bytes, sum(tf.io.gfile.stat(name).length for name in files) / (mean_bytes + framing)
