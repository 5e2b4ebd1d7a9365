"""Which images a run has seen, in eight bytes each: what the next run needs to say which are new.

The file goes from ExampleGen's report into the record of a pushed version, in `assets.extra/`.
"""

import hashlib
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from serving.storage.side_files import DamagedError, read_bytes

FILE = "images.u64"
_TYPE = np.dtype("<u8")


def make(images: Iterable[tuple[str, str]]) -> np.ndarray:
    """Keys of images and their labels: a relabelled image is another one.

    Of two sets of a million images each, one in 20 million times two different images share a key.

    Args:
        images: hex sha256 of the bytes, and class name.
    Returns:
        uint64 [num_images], sorted.
    """
    keys = [hashlib.sha256(f"{digest} {label}".encode()).digest()[: _TYPE.itemsize] for digest, label in images]
    return np.sort(np.frombuffer(b"".join(keys), _TYPE))


def write(folder: str, keys: np.ndarray) -> None:
    """Writes keys into a folder."""
    with tf.io.gfile.GFile(os.path.join(folder, FILE), "wb") as file:
        file.write(keys.astype(_TYPE).tobytes())


def read(folder: str) -> np.ndarray | None:
    """Reads keys from a folder, uint64 [num_images]; None if there are none, for an older Graft wrote it."""
    path = os.path.join(folder, FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return np.frombuffer(file.read(), _TYPE)


def read_kept(folder: str) -> np.ndarray | None:
    """Reads the file of a version, which may be damaged; returns as `read`.

    Raises:
        DamagedError: if there is something that is no set of keys.
    """
    content = read_bytes(os.path.join(folder, FILE))
    if content is None:
        return None
    if not content or len(content) % _TYPE.itemsize:
        raise DamagedError(f"{len(content)} bytes; expected {_TYPE.itemsize} for each image")
    return np.frombuffer(content, _TYPE)


def compare(keys: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """How many are new, and how many of those seen are gone.

    Args:
        keys: uint64 [num_images], of this run.
        seen: the same of an earlier one.
    """
    common = len(np.intersect1d(keys, seen))
    return len(np.unique(keys)) - common, len(np.unique(seen)) - common
