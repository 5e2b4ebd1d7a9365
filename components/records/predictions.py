"""Predictions of a run in one Parquet file, with one row per image, for reports. Imports no TensorFlow."""

import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Self

from serving.storage.documents import DocumentError
from serving.storage.gfile import gfile
from serving.storage.whole_files import write_whole

PREDICTIONS = "predictions.parquet"
VAL_BASELINE = "val_baseline.parquet"  # the live version's predictions of `val`, in the Evaluator's artifact
FORMAT = 1
_METADATA = b"graft"
_TEXTS = ("split", "digest", "path", "label")
_ROWS = pa.list_(pa.float32())
_ACCEPTED = pa.field("accepted", pa.bool_())
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("candidate", _ROWS), ("baseline", _ROWS)])


@dataclasses.dataclass(frozen=True)
class Predictions:
    """True classes and probabilities of N images.

    Attributes:
        classes: class names of the candidate, in the order of its C outputs.
        baseline_version: number of the live version; None if no version was live.
        baseline_classes: class names of the live version, in the order of its B outputs; None if it has predicted
            no image.
        split: "test" or "val", for each image.
        digest: sha256 of each image's bytes, in hex.
        path: path of each image, relative to the data folder.
        label: true class of each image.
        candidate: probabilities by the candidate, float32 [N, C].
        baseline: probabilities by the live version, float32 [N, B]; a row of NaN for an image without its prediction.
        accepted: whether the candidate accepts each image as one of a known class, bool [N]; None if that is unknown.
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
    accepted: np.ndarray | None = None

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.path)

    def render(self) -> bytes:
        """Returns the bytes of the Parquet file."""
        described = {
            "format": FORMAT,
            "classes": self.classes,
            "baseline_version": self.baseline_version,
            "baseline_classes": self.baseline_classes,
        }
        schema = _SCHEMA if self.accepted is None else _SCHEMA.append(_ACCEPTED)
        schema = schema.with_metadata({_METADATA: json.dumps(described, ensure_ascii=False).encode()})
        columns = [pa.array(getattr(self, name), pa.string()) for name in _TEXTS]
        columns += [_to_lists(self.candidate, np.ones(len(self), bool)), _to_lists(self.baseline, self.has_baseline())]
        columns += [] if self.accepted is None else [pa.array(self.accepted, pa.bool_())]
        file = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), file, compression="zstd")
        return file.getvalue()

    def write(self, path: str) -> None:
        """Writes the Parquet file atomically."""
        with write_whole(path) as temporary, open(temporary, "wb") as file:
            file.write(self.render())

    def has_baseline(self) -> np.ndarray:
        """Returns bool [N]: True for an image that the live version has predicted."""
        if not self.baseline.shape[1]:
            return np.zeros(len(self), bool)
        return ~np.isnan(self.baseline).all(axis=1)

    def sort(self) -> Self:
        """Sorts by split and path; keeps one row of an image that has several."""
        rows = {key: row for row, key in enumerate(zip(self.split, self.path, strict=True))}
        return self.take([rows[key] for key in sorted(rows)])

    def align_baseline(self, other: "Predictions") -> Self:
        """Copies the live version's probabilities from `other`, by split and path; NaN for an image not in `other`."""
        rows = {key: row for row, key in enumerate(zip(other.split, other.path, strict=True))}
        baseline = no_baseline(len(self), other.baseline.shape[1])
        for target, key in enumerate(zip(self.split, self.path, strict=True)):
            if key in rows:
                baseline[target] = other.baseline[rows[key]]
        return self.with_baseline(other.baseline_version, other.baseline_classes, baseline)

    def with_baseline(self, version: int | None, classes: list[str] | None, baseline: np.ndarray) -> Self:
        """Replaces the three attributes of the live version."""
        return dataclasses.replace(self, baseline_version=version, baseline_classes=classes, baseline=baseline)

    def take(self, rows: Sequence[int]) -> Self:
        """Selects rows by index, in the order of `rows`."""
        texts: dict[str, Any] = {name: [getattr(self, name)[row] for row in rows] for name in _TEXTS}
        index = np.array(rows, np.int64)
        candidate, baseline = self.candidate[index], self.baseline[index]
        accepted = None if self.accepted is None else self.accepted[index]
        return dataclasses.replace(self, **texts, candidate=candidate, baseline=baseline, accepted=accepted)


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Joins predictions of the same two models; a part without a live version gets rows of NaN.

    Args:
        parts: one part or more. The result has the classes of the first part, and the live version of the first part
            that has one. It says which images are accepted if each part does.
    """
    first = next((part for part in parts if part.baseline_classes is not None), parts[0])
    texts: dict[str, Any] = {name: [text for part in parts for text in getattr(part, name)] for name in _TEXTS}
    return dataclasses.replace(
        parts[0],
        baseline_version=first.baseline_version,
        baseline_classes=first.baseline_classes,
        **texts,
        candidate=np.concatenate([part.candidate for part in parts]),
        baseline=np.concatenate([_widen(part.baseline, first.baseline.shape[1]) for part in parts]),
        accepted=_join_accepted([part.accepted for part in parts]),
    )


def _join_accepted(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def no_baseline(count: int, width: int = 0) -> np.ndarray:
    """Returns an array of NaN, float32 [count, width]."""
    return np.full([count, width], np.nan, np.float32)


def read_predictions(path: str) -> Predictions:
    """Reads a Parquet file.

    Raises:
        DocumentError: if the file is missing, damaged or of a newer format.
    """
    return parse_predictions(_read_bytes(path), path)


def parse_predictions(content: bytes, source: str) -> Predictions:
    """Reads the bytes of a Parquet file.

    Args:
        content: the bytes.
        source: name of the file, for the error.
    Raises:
        DocumentError: as `read_predictions`.
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()  # pq.read_table imports pandas
        described = json.loads((table.schema.metadata or {})[_METADATA])
        found = described["format"]
        if found == FORMAT:
            return _from_table(table, described)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"{source}: not the predictions of a run: {error}") from error
    raise DocumentError(f"{source}: format {found!r}; this Graft reads {FORMAT}. Use the Graft that wrote it.")


def _from_table(table: pa.Table, described: dict[str, Any]) -> Predictions:
    classes, baseline_classes = described["classes"], described["baseline_classes"]
    return Predictions(
        classes=list(classes),
        baseline_version=described["baseline_version"],
        baseline_classes=None if baseline_classes is None else list(baseline_classes),
        **{name: table.column(name).to_pylist() for name in _TEXTS},
        candidate=_to_rows(table.column("candidate"), len(classes)),
        baseline=_to_rows(table.column("baseline"), len(baseline_classes or [])),
        accepted=_read_accepted(table),
    )


def _read_accepted(table: pa.Table) -> np.ndarray | None:
    if _ACCEPTED.name not in table.column_names:
        return None
    return np.array(table.column(_ACCEPTED.name).to_pylist(), bool)


def _read_bytes(path: str) -> bytes:
    if not gfile(path).exists(path):
        raise DocumentError(f"{path}: is missing")
    with gfile(path).GFile(path, "rb") as file:
        return bytes(file.read())


def _to_lists(rows: np.ndarray, present: np.ndarray) -> pa.ListArray:
    """Turns float32 [N, C] into N lists, null where a row is not present."""
    starts = np.concatenate([[0], np.cumsum(present * rows.shape[1])]).astype(np.int32)
    offsets = pa.array(starts, pa.int32(), mask=np.append(~present, False))
    return pa.ListArray.from_arrays(offsets, pa.array(rows[present].ravel(), pa.float32()))


def _to_rows(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """Turns N lists into float32 [N, width], NaN where a list is null."""
    rows = no_baseline(len(column), width)
    present = _find_present(column)
    rows[present] = _flatten(column).reshape(int(present.sum()), width)
    return rows


def _find_present(column: pa.ChunkedArray) -> np.ndarray:
    """Returns bool [N], False where a value is null; the functions of pyarrow.compute would import pandas."""
    chunks = [
        np.array([value.is_valid for value in chunk], bool) if chunk.null_count else np.ones(len(chunk), bool)
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, bool), *chunks])


def _flatten(column: pa.ChunkedArray) -> np.ndarray:
    """Returns the values of all lists; a null list of a Parquet file has none. Arrow's `to_numpy` imports pandas."""
    if column.type.value_type != pa.float32():
        raise ValueError(f"expected probabilities of float32, got {column.type.value_type}")
    chunks = [np.zeros(0, np.float32)]
    for chunk in column.chunks:
        start, stop = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()
        values = chunk.values[start:stop]
        if values.null_count:
            raise ValueError("a probability is missing")
        if len(values):
            chunks.append(np.frombuffer(values.buffers()[1], np.float32, len(values), values.offset * 4))
    return np.concatenate(chunks)


def _widen(rows: np.ndarray, width: int) -> np.ndarray:
    return rows if rows.shape[1] == width else no_baseline(len(rows), width)
