"""What decoding an image told before: that is most of what reading it costs, and the answer never changes."""

from collections.abc import Iterable

import numpy as np

from components.example_gen.duplicates import Record
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore, list_keys, remove


class DecodedImages:
    """Sizes of good images by their digest, kept from run to run in shards as those of the embedding store."""

    def __init__(self, root: str, decoding_digest: str):
        """Opens what is there; other code, or another TensorFlow, may refuse what was read then.

        Args:
            root: the folder to keep them in.
            decoding_digest: of the code that decodes, and of its libraries.
        """
        self._store = EmbeddingStore(root, _kind(decoding_digest))
        self._rows = self._store.open()
        positions = np.arange(len(self._rows))
        intact = self._rows.check(positions)  # by `find`, there are no others from here on
        self._sizes = np.zeros([len(self._rows), *self._rows.key.shape])
        self._sizes[intact] = self._rows.read(positions[intact])

    def find(self, digest: str) -> tuple[int, int, float, bool] | None:
        """Width and height of an image, its brightness, and whether it carries an EXIF orientation; None if unknown."""
        [position] = self._rows.find([bytes.fromhex(digest)])
        if position < 0:
            return None
        width, height, brightness, oriented = self._sizes[position].tolist()
        return int(width), int(height), brightness, bool(oriented)

    def add(self, records: Iterable[Record]) -> None:
        """Keeps the sizes of images that are good and new."""
        good = {bytes.fromhex(r.digest): (r.width, r.height, r.brightness, r.oriented) for r in records if not r.broken}
        digests = list(good)
        new = [digests[i] for i in np.flatnonzero(self._rows.find(digests) < 0)]
        if new:
            with self._store.append() as append:
                append(new, np.array([good[digest] for digest in new], np.float32))


def remove_outdated(root: str, decoding_digest: str) -> None:
    """Removes what other code has kept."""
    for kind in list_keys(root):
        if kind != _kind(decoding_digest):
            remove(root, kind)


def _kind(decoding_digest: str) -> FeatureKey:
    """Whole numbers, which float32 holds exactly up to 16 million (no image is as wide), and the brightness.

    Other numbers, or another order, need another name than "decoded": the digest is of what decodes, not of this file.
    """
    return FeatureKey("decoded", "", decoding_digest, (4,), "float32")
