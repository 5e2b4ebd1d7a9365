"""Reads the bytes of files, here or in a store, piece by piece."""

import hashlib
from collections.abc import Iterator

from serving.storage.gfile import gfile

_CHUNK = 1 << 20  # bytes


def read_chunks(path: str) -> Iterator[bytes]:
    """Yields the bytes of a file in order, at most a megabyte at once.

    Raises:
        OSError: if it cannot be read.
    """
    with gfile(path).GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def digest_contents(*paths: str) -> str:
    """Returns the hex sha256 of the bytes of files, one file after the other.

    Raises:
        OSError: if one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        for chunk in read_chunks(path):
            digest.update(chunk)
    return digest.hexdigest()
