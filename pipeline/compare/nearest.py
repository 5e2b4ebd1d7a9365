"""Finds the new training images that are nearest to images whose predicted class differs, by stored embeddings."""

import os
import re
from collections.abc import Sequence

import numpy as np

from components.records.comparison import Neighbour
from components.records.image_list import ListedImage
from components.row_store.store import EmbeddingStore, Rows, list_keys
from pipeline.workspace.manifest import RunManifest
from pipeline.workspace.workspace import Workspace
from serving.storage.gfile import is_remote

EMBEDDING = "embedding"  # layer of the feature key of an embedding
_DIGEST = re.compile("[0-9a-f]{64}")
_CHUNK = 1024  # rows in memory at once; 8 MB of 2048 float32
_NearestOfOne = list[tuple[float, int]]  # similarity and position in the list of new images, the nearest first


def open_embeddings(workspace: Workspace, manifest: RunManifest | None) -> tuple[Rows | None, str]:
    """Opens the stored embeddings of a run, by its feature key.

    Returns:
        The rows and ""; None and a sentence with the reason if there are none.
    """
    if manifest is None or manifest.embedding is None:
        return None, "The run has embedded no images, so the nearest new training images are unknown."
    if not any(name.startswith(f"{EMBEDDING}-") for name in manifest.embedding.kinds):
        return None, "Augmented images have no stored embeddings, so the nearest new training images are unknown."
    root = str(workspace.embeddings)
    keys = list_keys(root) if os.path.isdir(root) and not is_remote(root) else []
    for key in keys:
        if key.name in manifest.embedding.kinds and key.layer == EMBEDDING:
            return EmbeddingStore(root, key).open(), ""
    return None, "The embeddings of the run are no longer stored, so the nearest new training images are unknown."


def find_nearest(
    rows: Rows,
    flipped: Sequence[str],
    new: Sequence[tuple[ListedImage, str | None]],
    most: int,
) -> tuple[list[list[Neighbour]], int]:
    """Finds the nearest new training images of each flipped image, by the cosine of the embeddings.

    Reads the embeddings of the new images in chunks, so that memory does not grow with their number.

    Args:
        rows: stored embeddings.
        flipped: digests of the flipped images, in hex.
        new: new training images with their classes in A.
        most: number of neighbours of each flipped image.
    Returns:
        Neighbours of each flipped image, the nearest first, none for an image without an intact embedding; and the
        number of new training images without an intact embedding.
    """
    wanted, known = _read_units(rows, rows.find(_to_bytes(flipped)))
    positions = rows.find(_to_bytes([image.digest for image, _ in new]))
    found: list[_NearestOfOne] = [[] for _ in flipped]
    missing = 0
    for start in range(0, len(positions), _CHUNK):
        units, intact = _read_units(rows, positions[start : start + _CHUNK])
        missing += int((~intact).sum())
        similarities = wanted @ units.T
        similarities[:, ~intact] = -np.inf
        for index in np.flatnonzero(known):
            found[index] = _keep_nearest(found[index], similarities[index], start, most)
    return [[_describe(*new[position], value) for value, position in nearest] for nearest in found], missing


def _keep_nearest(found: _NearestOfOne, similarities: np.ndarray, start: int, most: int) -> _NearestOfOne:
    """Merges the nearest images of a chunk, float32 [num_rows], into those of the earlier chunks."""
    nearest = np.argsort(-similarities, kind="stable")[:most]
    candidates = [(float(similarities[row]), start + int(row)) for row in nearest if np.isfinite(similarities[row])]
    return sorted([*found, *candidates], key=lambda pair: (-pair[0], pair[1]))[:most]


def _read_units(rows: Rows, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads embeddings and scales them to length 1.

    Args:
        rows: stored embeddings.
        positions: int64 [num_rows], from `Rows.find`.
    Returns:
        float32 [num_rows, size], and bool [num_rows], False for a row that is missing or damaged.
    """
    units = np.zeros([len(positions), *rows.key.shape], np.float32)
    present = np.flatnonzero(positions >= 0)
    read, intact = rows.read_intact(positions[present])
    read = np.where(intact[:, np.newaxis], read, 0).astype(np.float32)
    lengths = np.linalg.norm(read, axis=1, keepdims=True)
    good = intact & np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
    units[present[good]] = read[good] / lengths[good]
    known = np.zeros(len(positions), bool)
    known[present[good]] = True
    return units, known


def _to_bytes(digests: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(digest) if _DIGEST.fullmatch(digest) else b"" for digest in digests]


def _describe(image: ListedImage, before: str | None, similarity: float) -> Neighbour:
    return Neighbour(
        path=image.path,
        digest=image.digest,
        label=image.label,
        label_before=before,
        similarity=round(min(1.0, similarity), 6),
    )
