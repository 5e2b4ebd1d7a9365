"""Reading and digests of files in pieces, on this machine or in a store."""

import hashlib
from collections.abc import Iterator

from serving.storage.gfile import gfile

_CHUNK = 1 << 20  # bytes


def read_chunks(path: str) -> Iterator[bytes]:
    """Yields the bytes of a file in order, in pieces of at most 1 MiB.

    Raises:
        OSError: if the file cannot be read.
    """
    with gfile(path).GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def digest_contents(*paths: str) -> str:
    """Returns the hex sha256 of the concatenated bytes of files.

    Raises:
        OSError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        for chunk in read_chunks(path):
            digest.update(chunk)
    return digest.hexdigest()
