"""Cache of image size, brightness and EXIF orientation, by digest.

Decoding is most of the cost of reading an image, and its results depend on the bytes alone.
"""

from collections.abc import Iterable

import numpy as np

from components.example_gen.duplicates import Record
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore, list_keys, remove


class DecodedImages:
    """Sizes of good images by digest, kept from run to run in shards like those of the embedding store."""

    def __init__(self, root: str, decoding_digest: str):
        """Opens the cache and drops its damaged rows.

        Args:
            root: folder of the cache.
            decoding_digest: digest of the code that decodes and of its libraries. Rows of another digest are not read,
                because other code may reject the images that this code reads.
        """
        self._store = EmbeddingStore(root, _make_key(decoding_digest))
        self._rows = self._store.open()
        positions = np.arange(len(self._rows))
        intact = self._rows.check(positions)  # `find` sees only the intact rows from here on
        self._sizes = np.zeros([len(self._rows), *self._rows.key.shape])
        self._sizes[intact] = self._rows.read(positions[intact])

    def find(self, digest: str) -> tuple[int, int, float, int] | None:
        """Looks an image up.

        Args:
            digest: hex sha256 of the bytes.
        Returns:
            The values that `try_to_decode` has returned; None if the cache does not have the image.
        """
        [position] = self._rows.find([bytes.fromhex(digest)])
        if position < 0:
            return None
        width, height, brightness, orientation = self._sizes[position].tolist()
        return int(width), int(height), brightness, int(orientation)

    def add(self, records: Iterable[Record]) -> None:
        """Stores the images that are good and not in the cache yet, by records with sizes as stored."""
        good = {
            bytes.fromhex(r.digest): (r.width, r.height, r.brightness, r.orientation) for r in records if not r.broken
        }
        digests = list(good)
        new = [digests[i] for i in np.flatnonzero(self._rows.find(digests) < 0)]
        if new:
            with self._store.append() as append:
                append(new, np.array([good[digest] for digest in new], np.float32))


def remove_outdated(root: str, decoding_digest: str) -> None:
    """Removes the rows that other code has stored.

    Args:
        root: folder of the cache.
        decoding_digest: digest of the present code that decodes, whose rows stay.
    """
    for key in list_keys(root):
        if key != _make_key(decoding_digest):
            remove(root, key)


def _make_key(decoding_digest: str) -> FeatureKey:
    """Builds the key of rows of width, height, brightness and EXIF orientation.

    float32 holds whole numbers exactly up to 16 million, and no image is as wide. The digest does not cover this file:
    a change of the columns or of their order needs another name than "measured".
    """
    return FeatureKey("measured", "", decoding_digest, (4,), "float32")
