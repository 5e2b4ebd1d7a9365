"""Set of the images of a run, as one 8-byte key per image; the next run counts its new images with it.

ExampleGen writes the set into its report. A push copies the file into `assets.extra/` of the version.
"""

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_bytes

FILE = "images.u64"
_TYPE = np.dtype("<u8")


def make(images: Iterable[tuple[str, str]]) -> np.ndarray:
    """Computes the keys of images with their labels: an image with another label has another key.

    The chance that two different images share a key is 1 in 20 million for two sets of a million images each.

    Args:
        images: hex sha256 of the bytes and class name of each image.
    Returns:
        Keys, uint64 [num_images], sorted.
    """
    keys = [hashlib.sha256(f"{digest} {label}".encode()).digest()[: _TYPE.itemsize] for digest, label in images]
    return np.sort(np.frombuffer(b"".join(keys), _TYPE))


def write(folder: str, keys: np.ndarray) -> None:
    """Writes keys, uint64 [num_images], into a folder."""
    path = os.path.join(folder, FILE)
    with gfile(path).GFile(path, "wb") as file:
        file.write(keys.astype(_TYPE).tobytes())


def read(folder: str) -> np.ndarray | None:
    """Reads keys from a folder, uint64 [num_images]; returns None if an older Graft wrote the folder without keys."""
    path = os.path.join(folder, FILE)
    if not gfile(path).exists(path):
        return None
    with gfile(path).GFile(path, "rb") as file:
        return np.frombuffer(file.read(), _TYPE)


def read_kept(folder: str) -> np.ndarray | None:
    """Reads the keys of a version, whose file may be damaged; returns as `read`.

    Raises:
        DamagedError: if the file is empty or ends within a key.
    """
    content = read_bytes(os.path.join(folder, FILE))
    if content is None:
        return None
    if not content or len(content) % _TYPE.itemsize:
        raise DamagedError(f"{len(content)} bytes; expected {_TYPE.itemsize} for each image")
    return np.frombuffer(content, _TYPE)


def compare(keys: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """Counts the images that are new, and those of the earlier run that are gone.

    Args:
        keys: keys of this run, uint64 [num_images].
        seen: keys of the earlier run, uint64 [num_images].
    Returns:
        Number of new images and number of gone images.
    """
    common = len(np.intersect1d(keys, seen))
    return len(np.unique(keys)) - common, len(np.unique(seen)) - common
