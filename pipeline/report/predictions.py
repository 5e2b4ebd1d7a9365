"""Reads `predictions.parquet` of a run's folder. To be replaced by `components.records.predictions`."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq

FILE = "predictions.parquet"
_METADATA = b"graft"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Answers for each image of `val` and `test`.

    Attributes:
        classes: of the candidate, in the order of its outputs.
        baseline_version: number of the version that was live; None if none was asked.
        baseline_classes: of that version; None if none was asked.
        split, digest, path, label: of each image.
        candidate: probabilities, float32 [num_images, num_classes].
        baseline: the same of the live version, float32 [num_images, its classes]; NaN where it was not asked.
    """

    classes: list[str]
    baseline_version: int | None
    baseline_classes: list[str] | None
    split: list[str]
    digest: list[str]
    path: list[str]
    label: list[str]
    candidate: np.ndarray
    baseline: np.ndarray


def read_predictions(path: str) -> Predictions:
    """Reads the file.

    Raises:
        OSError: if it is not there, or cannot be read.
        ValueError, KeyError, pyarrow.ArrowException: if it is damaged.
    """
    table = pq.read_table(path)
    known = json.loads(table.schema.metadata[_METADATA])
    texts = {name: table[name].to_pylist() for name in ("split", "digest", "path", "label")}
    return Predictions(
        classes=known["classes"],
        baseline_version=known["baseline_version"],
        baseline_classes=known["baseline_classes"],
        candidate=_to_matrix(table["candidate"].to_pylist(), len(known["classes"])),
        baseline=_to_matrix(table["baseline"].to_pylist(), len(known["baseline_classes"] or [])),
        **texts,
    )


def _to_matrix(rows: list[list[float] | None], columns: int) -> np.ndarray:
    missing = [np.nan] * columns
    return np.array([missing if row is None else row for row in rows], np.float32).reshape(len(rows), columns)
