"""Shards of the embedding store: Arrow IPC files of rows by image digest. A shard is written whole or not at all.

Arrow IPC finds a row without decoding the others, and every Arrow tool reads the files. Arrow has no checksums, so each
row has a checksum column: a damaged file may keep its length.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import stat
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np
import pyarrow as pa

from serving.storage.whole_files import name_temporary, write_whole

SUFFIX, DAMAGED_SUFFIX = ".arrow", ".damaged"
DIGEST_BYTES = 32
_MAX_DIMENSION = 1 << 20  # upper limit of each dimension of a row
_DIGEST = np.dtype(f"S{DIGEST_BYTES}")
# Arrow has no bfloat16; its bits are stored as uint16.
_ARROW_TYPES = {"float32": pa.float32(), "bfloat16": pa.uint16()}
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_KEY = b"graft"
# Last bytes of an Arrow file. Before them stands the length of the footer in 4 bytes, little endian.
_MAGIC = b"ARROW1"
# Metadata key of an extension type in a schema. pyarrow before 14.0.1 unpickles the value of this key (CVE-2023-47248).
_EXTENSION = b"ARROW:extension:"
# Errors that do not depend on the content of a file; all other errors come from Arrow or from a damaged disk.
_NOT_FROM_CONTENT = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

Append = Callable[[Sequence[bytes], np.ndarray], None]


class BadShardError(Exception):
    """Error: the file is torn, or its feature key is not that of the folder."""


class _NoRowsError(Exception):
    """Error: no rows were appended, so the shard is not to be written."""


@dataclasses.dataclass(frozen=True)
class FeatureKey:
    """Cache key of a feature: layer, weights, graph, shape, type, arithmetic. Rows of equal keys are interchangeable.

    Attributes:
        layer: name of the ResNet50 layer whose output is stored, or "embedding".
        weights: digest of the base's weights, hex sha256.
        graph: digest of the preprocessing graph, hex sha256.
        shape: shape of a row.
        dtype: type of the values, "float32" or "bfloat16".
        arithmetic: how the base computed the values, such as "folded float32"; "" for what no folded base computed,
            among it all features of Graft 0.2.0.
    """

    layer: str
    weights: str
    graph: str
    shape: tuple[int, ...]
    dtype: str
    arithmetic: str = ""

    @property
    def name(self) -> str:
        """Name of the folder of these rows: the layer, and a digest of the whole key."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()
        return f"{self.layer}-{digest[:16]}"

    @property
    def numpy_dtype(self) -> np.dtype:
        """NumPy type of the values of a row in memory."""
        return _DTYPES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes, without its digest."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    def to_json(self) -> str:
        """Returns the key as one line of JSON; equal keys give equal lines. An empty `arithmetic` is left out."""
        values = dataclasses.asdict(self)
        return json.dumps(
            {name: values[name] for name in values if name != "arithmetic" or values[name]}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> "FeatureKey":
        """Parses the output of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: if the text is no feature key.
        """
        values = json.loads(text)
        key = cls(**values | {"shape": tuple(values["shape"])})
        texts = (key.layer, key.weights, key.graph, key.arithmetic)
        sizes = all(type(size) is int and 0 < size <= _MAX_DIMENSION for size in key.shape)
        if key.dtype not in _DTYPES or not all(isinstance(value, str) for value in texts) or not sizes:
            raise ValueError(f"expected a feature key, got {text}")
        return key

    @property
    def _schema(self) -> pa.Schema:
        row = pa.list_(_ARROW_TYPES[self.dtype], math.prod(self.shape))
        columns = [("digest", pa.binary(DIGEST_BYTES)), ("crc32", pa.uint32()), ("features", row)]
        return pa.schema(columns, metadata={_KEY: self.to_json()})


@contextlib.contextmanager
def write_shard(folder: str, key: FeatureKey, prefix: str = "") -> Iterator[Append]:
    """Writes one shard. The shard appears when the context ends, but not after an error or without rows.

    Args:
        folder: folder of the shard; other processes may write into it at the same time.
        key: feature key of the rows.
        prefix: first characters of the names of the shard and of its temporary file.
    Yields:
        A function that appends rows: digests of 32 bytes each, and features [num_rows, *shape].
    Raises:
        OSError: if the shard cannot be written.
    """
    target = os.path.join(folder, f"{prefix}{uuid.uuid4().hex}{SUFFIX}")
    rows = 0
    with contextlib.suppress(_NoRowsError), write_whole(target, name_temporary(target), sync=True) as temporary:
        with pa.OSFile(temporary, "wb") as file, pa.ipc.new_file(file, key._schema) as writer:

            def append(digests: Sequence[bytes], features: np.ndarray) -> None:
                nonlocal rows
                rows += len(digests)
                writer.write_batch(_to_batch(key, digests, features))

            yield append
        if not rows:
            raise _NoRowsError


def _to_batch(key: FeatureKey, digests: Sequence[bytes], features: np.ndarray) -> pa.RecordBatch:
    rows = np.ascontiguousarray(features, key.numpy_dtype).reshape(len(digests), math.prod(key.shape))
    bits = rows.view(np.uint16) if key.dtype == "bfloat16" else rows
    columns = [
        pa.array(digests, pa.binary(DIGEST_BYTES)),
        pa.array([_checksum(d, row.tobytes()) for d, row in zip(digests, bits, strict=True)], pa.uint32()),
        pa.FixedSizeListArray.from_arrays(pa.array(bits.ravel()), bits.shape[1]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=key._schema)


def _checksum(digest: bytes, row: bytes) -> int:
    """Computes the CRC-32 of a digest and its row, so that a row under the digest of another image is noticed too."""
    return zlib.crc32(row, zlib.crc32(digest))


class Shard:
    """A shard on disk, for reading. Digests and offsets of the rows are in memory; no file stays open."""

    def __init__(self, path: str, key: FeatureKey):
        """Reads the digests, checksums and offsets of all rows.

        Args:
            path: path of the shard.
            key: expected feature key of the rows.
        Raises:
            BadShardError: if the file is torn, no shard, or a shard of another key.
            OSError: if the file cannot be read.
        """
        self.path = path
        self._key = key
        try:
            _reject_special(path)
            with pa.memory_map(path) as file:
                start = file.read_buffer(1).address
                batches = _read_batches(file, key)
                columns = [_view(batch, key) for batch in batches]
                self.digests = np.concatenate([c[0] for c in columns] or [np.zeros(0, _DIGEST)])
                self._checksums = np.concatenate([c[1] for c in columns] or [np.zeros(0, np.uint32)])
                rows = [np.arange(len(c[0])) * key.row_bytes + c[2] - start for c in columns]
                self._offsets = np.concatenate(rows or [np.zeros(0, np.int64)])
                if ((self._offsets < 0) | (self._offsets > file.size() - key.row_bytes)).any():
                    raise BadShardError("its rows lie outside the file")
        except OSError as error:
            if error.errno in _NOT_FROM_CONTENT:
                raise
            raise BadShardError(str(error)) from error
        except (BadShardError, MemoryError):
            raise
        except Exception as error:  # Arrow and NumPy raise many classes for bytes that are no shard
            raise BadShardError(str(error)) from error

    def read(self, indices: Sequence[int] | np.ndarray, check: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows by their index in the shard.

        Args:
            indices: int [num_rows].
            check: True to compare the rows with their checksums.
        Returns:
            The rows, [num_rows, *key.shape]; and bool [num_rows], false for a row that is cut off or damaged.
        """
        size, count = self._key.row_bytes, len(indices)
        rows: np.ndarray = np.zeros([count, size], np.uint8)
        intact: np.ndarray = np.ones(count, bool)
        with open(self.path, "rb", buffering=0) as file:
            for row, index in enumerate(indices):
                content = os.pread(file.fileno(), size, int(self._offsets[index]))
                rows[row, : len(content)] = np.frombuffer(content, np.uint8)
                intact[row] = len(content) == size
                if check and intact[row]:
                    intact[row] = _checksum(to_bytes(self.digests[index]), content) == self._checksums[index]
        return rows.view(self._key.numpy_dtype).reshape(count, *self._key.shape), intact

    def remove(self) -> None:
        """Removes the file.

        Raises:
            FileNotFoundError: if another process has removed it.
        """
        os.remove(self.path)

    def set_aside(self) -> None:
        """Renames the shard so that it is not read any more; the file stays for a day, for inspection."""
        os.rename(self.path, self.path + DAMAGED_SUFFIX)
        os.utime(self.path + DAMAGED_SUFFIX)


def to_bytes(digest: np.bytes_) -> bytes:
    """Converts a digest from an array to 32 bytes: NumPy strips trailing zeros."""
    return bytes(digest).ljust(DIGEST_BYTES, b"\0")


def _reject_special(path: str) -> None:
    """Raises BadShardError for a pipe or a device: reading one may block or never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise BadShardError("it is no regular file")


def _read_batches(file: pa.MemoryMappedFile, key: FeatureKey) -> list[pa.RecordBatch]:
    _reject_extensions(file)
    file.seek(0)
    reader = pa.ipc.open_file(file)
    found = (reader.schema.metadata or {}).get(_KEY, b"").decode(errors="replace")
    if found != key.to_json() or reader.schema != key._schema:
        raise BadShardError("it holds something else")
    return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def _reject_extensions(file: pa.MemoryMappedFile) -> None:
    """Raises BadShardError if the schema names an extension type: Arrow would load that type with the schema.

    Arrow reads the schema from the footer, which is never compressed, so the bytes of a metadata key stand in it.
    """
    ending = file.size() - len(_MAGIC) - 4
    length = int.from_bytes(file.read_at(4, max(ending, 0)), "little")
    start = max(ending - length, 0)
    if _EXTENSION in file.read_at(file.size() - start, start):
        raise BadShardError("it holds something else")


def _view(batch: pa.RecordBatch, key: FeatureKey) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the digests and checksums of a batch, and the memory address of its first row.

    Raises:
        BadShardError: if the file ends before the last row.
    """
    digests, checksums, features = (column.buffers()[-1] for column in batch.columns)
    if features.size < batch.num_rows * key.row_bytes:
        raise BadShardError("its rows are cut off")
    return (
        np.frombuffer(digests, _DIGEST, batch.num_rows),
        np.frombuffer(checksums, np.uint32, batch.num_rows),
        features.address,
    )
