"""Shards of the embedding store: Arrow IPC files of rows by image digest, whole or not there at all.

Arrow IPC, for a row is found without decoding the rest, and every tool that knows Arrow reads it. What it has no
checksum for, each row has one of its own: a file may keep its length and lose its contents.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import mmap
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np
import pyarrow as pa

SUFFIX, TEMPORARY_SUFFIX = ".arrow", ".tmp"
DIGEST_BYTES = 32
# What Arrow has no type for is kept as its bits.
_ARROW_TYPES = {"float32": pa.float32(), "bfloat16": pa.uint16()}
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_KIND = b"graft"

Append = Callable[[Sequence[bytes], np.ndarray], None]


class BadShardError(Exception):
    """A file that is torn, or of another kind than its folder."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What rows are: which function of an image. Rows of one kind may be mixed, whoever computed them.

    Attributes:
        layer: whose output; a name of ResNet50's, or "embedding".
        weights: digest of the base's weights.
        graph: digest of the preprocessing graph.
        shape: of a row.
        dtype: float32 or bfloat16.
    """

    layer: str
    weights: str
    graph: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def name(self) -> str:
        """Of the folder; tells the layer to a person and all of it by its digest."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()
        return f"{self.layer}-{digest[:16]}"

    @property
    def numpy_dtype(self) -> np.dtype:
        """What a row is in memory."""
        return _DTYPES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """What a row takes, without its digest."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    def to_json(self) -> str:
        """One line; equal for equal kinds."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Kind":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"shape": tuple(values["shape"])})

    @property
    def _schema(self) -> pa.Schema:
        row = pa.list_(_ARROW_TYPES[self.dtype], math.prod(self.shape))
        columns = [("digest", pa.binary(DIGEST_BYTES)), ("crc32", pa.uint32()), ("features", row)]
        return pa.schema(columns, metadata={_KIND: self.to_json()})


@contextlib.contextmanager
def write_shard(folder: str, kind: Kind) -> Iterator[Append]:
    """Writes one shard, which appears under its name when the context ends; not if it fails, or has no rows.

    Args:
        folder: where to; others may write there at the same time.
        kind: of the rows.
    Yields:
        A function that appends rows: digests of 32 bytes each, and features [num_rows, *shape].
    Raises:
        OSError: if it cannot be written.
    """
    name = uuid.uuid4().hex
    temporary = os.path.join(folder, name + TEMPORARY_SUFFIX)
    rows = 0
    try:
        with pa.OSFile(temporary, "wb") as file, pa.ipc.new_file(file, kind._schema) as writer:

            def append(digests: Sequence[bytes], features: np.ndarray) -> None:
                nonlocal rows
                rows += len(digests)
                writer.write_batch(_to_batch(kind, digests, features))

            yield append
        if rows:
            _flush(temporary)
            os.rename(temporary, os.path.join(folder, name + SUFFIX))
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _to_batch(kind: Kind, digests: Sequence[bytes], features: np.ndarray) -> pa.RecordBatch:
    rows = np.ascontiguousarray(features, kind.numpy_dtype).reshape(len(digests), math.prod(kind.shape))
    bits = rows.view(np.uint16) if kind.dtype == "bfloat16" else rows
    columns = [
        pa.array(digests, pa.binary(DIGEST_BYTES)),
        pa.array([_checksum(row) for row in bits], pa.uint32()),
        pa.FixedSizeListArray.from_arrays(pa.array(bits.ravel()), bits.shape[1]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=kind._schema)


def _flush(path: str) -> None:
    """Else a crash of the machine may leave a file with its name and length, and nothing in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(row: np.ndarray) -> int:
    return zlib.crc32(row.view(np.uint8))


class Shard:
    """A shard that is there; rows are read where they lie."""

    def __init__(self, path: str, kind: Kind):
        """Opens a file.

        Args:
            path: of the file.
            kind: what it is expected to hold.
        Raises:
            BadShardError: if it holds something else, or is torn.
        """
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            reader = pa.ipc.open_file(pa.py_buffer(self._map))
            found = (reader.schema.metadata or {}).get(_KIND, b"").decode(errors="replace")
            if found != kind.to_json() or reader.schema != kind._schema:
                raise BadShardError("it holds something else")
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (OSError, ValueError, pa.ArrowException) as error:  # an empty file cannot be mapped
            raise BadShardError(str(error)) from error
        self.digests = np.concatenate(
            [_view(b, 0, np.dtype(f"S{DIGEST_BYTES}"), 1)[:, 0] for b in batches] or [np.zeros(0, f"S{DIGEST_BYTES}")]
        )
        self._checksums = [_view(batch, 1, np.dtype(np.uint32), 1)[:, 0] for batch in batches]
        self._features = [_view(batch, 2, kind.numpy_dtype, math.prod(kind.shape)) for batch in batches]
        self._ends = np.cumsum([len(rows) for rows in self._features])

    def row(self, index: int) -> np.ndarray:
        """One row, [size]; a view of the file."""
        batch, offset = self._locate(index)
        return self._features[batch][offset]

    def is_intact(self, index: int) -> bool:
        """Whether a row is what was written."""
        batch, offset = self._locate(index)
        return _checksum(self._features[batch][offset]) == self._checksums[batch][offset]

    def release(self) -> None:
        """Gives the pages that were read back; they would count as this process's memory until it is short."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _locate(self, index: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self._ends, index, side="right"))
        return batch, index - (int(self._ends[batch - 1]) if batch else 0)


def _view(batch: pa.RecordBatch, column: int, dtype: np.dtype, width: int) -> np.ndarray:
    """The values of a column, [num_rows, width], where they lie."""
    values = batch.column(column).buffers()[-1]
    return np.frombuffer(values, dtype, batch.num_rows * width).reshape(batch.num_rows, width)
