"""Shards of the embedding store: Arrow IPC files of rows by image digest, whole or not there at all.

Arrow IPC, for a row is found without decoding the rest, and every tool that knows Arrow reads it. What it has no
checksum for, each row has one of its own: a file may keep its length and lose its contents.
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
_LARGEST = 1 << 20  # of the sizes in a shape; rows are what a network makes of one image
_DIGEST = np.dtype(f"S{DIGEST_BYTES}")
# What Arrow has no type for is kept as its bits.
_ARROW_TYPES = {"float32": pa.float32(), "bfloat16": pa.uint16()}
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_KEY = b"graft"
# Ends of an Arrow file: the length of the footer in 4 bytes, little endian, and this.
_MAGIC = b"ARROW1"
# A key of a field in a schema. pyarrow before 14.0.1 unpickles what stands beside it (CVE-2023-47248).
_EXTENSION = b"ARROW:extension:"
# Errors that say nothing of what is in a file; all others are Arrow's, or the disk's.
_NOT_OF_THE_CONTENT = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

Append = Callable[[Sequence[bytes], np.ndarray], None]


class BadShardError(Exception):
    """A file that is torn, or of another feature key than its folder."""


class _NoRowsError(Exception):
    """Nothing was appended, so that there is no shard."""


@dataclasses.dataclass(frozen=True)
class FeatureKey:
    """Cache key of a feature: layer, weights, graph, shape, dtype. Rows of one key may be mixed, whoever computed them.

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
        """One line; equal for equal keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "FeatureKey":
        """Reads what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        values = json.loads(text)
        key = cls(**values | {"shape": tuple(values["shape"])})
        texts = (key.layer, key.weights, key.graph)
        sizes = all(type(size) is int and 0 < size <= _LARGEST for size in key.shape)
        if key.dtype not in _DTYPES or not all(isinstance(value, str) for value in texts) or not sizes:
            raise ValueError(f"expected the kind of a row, got {text}")
        return key

    @property
    def _schema(self) -> pa.Schema:
        row = pa.list_(_ARROW_TYPES[self.dtype], math.prod(self.shape))
        columns = [("digest", pa.binary(DIGEST_BYTES)), ("crc32", pa.uint32()), ("features", row)]
        return pa.schema(columns, metadata={_KEY: self.to_json()})


@contextlib.contextmanager
def write_shard(folder: str, key: FeatureKey) -> Iterator[Append]:
    """Writes one shard, which appears under its name when the context ends; not if it fails, or has no rows.

    Args:
        folder: where to; others may write there at the same time.
        key: of the rows.
    Yields:
        A function that appends rows: digests of 32 bytes each, and features [num_rows, *shape].
    Raises:
        OSError: if it cannot be written.
    """
    target = os.path.join(folder, uuid.uuid4().hex + SUFFIX)
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
    """Of both: a row must be that of its image, too."""
    return zlib.crc32(row, zlib.crc32(digest))


class Shard:
    """A shard that is there. Of each row its digest and where it lies are in memory; no file stays open."""

    def __init__(self, path: str, key: FeatureKey):
        """Looks a file over.

        Args:
            path: of the file.
            key: what it is expected to hold.
        Raises:
            BadShardError: if it holds something else, or is torn.
            OSError: if it cannot be read.
        """
        self.path = path
        self._key = key
        try:
            _refuse_special(path)
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
            if error.errno in _NOT_OF_THE_CONTENT:
                raise
            raise BadShardError(str(error)) from error
        except (BadShardError, MemoryError):
            raise
        except Exception as error:  # whatever Arrow and NumPy make of bytes that are no shard
            raise BadShardError(str(error)) from error

    def read(self, indices: Sequence[int] | np.ndarray, check: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows.

        Args:
            indices: which.
            check: whether to compare them with their checksums.
        Returns:
            The rows, [num_rows, *key.shape]; and bool [num_rows], whether they are what was written.
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
            FileNotFoundError: if another process has.
        """
        os.remove(self.path)

    def set_aside(self) -> None:
        """Puts it where nobody reads it; kept for a day, should someone want to look."""
        os.rename(self.path, self.path + DAMAGED_SUFFIX)
        os.utime(self.path + DAMAGED_SUFFIX)


def to_bytes(digest: np.bytes_) -> bytes:
    """A digest from an array of them; numpy drops zeros at the end."""
    return bytes(digest).ljust(DIGEST_BYTES, b"\0")


def _refuse_special(path: str) -> None:
    """Refuses a pipe or a device, which would be waited for or read without end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise BadShardError("it is no regular file")


def _read_batches(file: pa.MemoryMappedFile, key: FeatureKey) -> list[pa.RecordBatch]:
    _refuse_extensions(file)
    file.seek(0)
    reader = pa.ipc.open_file(file)
    found = (reader.schema.metadata or {}).get(_KEY, b"").decode(errors="replace")
    if found != key.to_json() or reader.schema != key._schema:
        raise BadShardError("it holds something else")
    return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def _refuse_extensions(file: pa.MemoryMappedFile) -> None:
    """Refuses a file whose schema names an extension type, before Arrow reads the schema and loads that type.

    Arrow takes the schema from the footer, which is never compressed: a key in it stands there as it is.
    """
    ending = file.size() - len(_MAGIC) - 4
    length = int.from_bytes(file.read_at(4, max(ending, 0)), "little")
    start = max(ending - length, 0)
    if _EXTENSION in file.read_at(file.size() - start, start):
        raise BadShardError("it holds something else")


def _view(batch: pa.RecordBatch, key: FeatureKey) -> tuple[np.ndarray, np.ndarray, int]:
    """Digests and checksums of a batch, and the address of its first row.

    Raises:
        BadShardError: if the file ends before them.
    """
    digests, checksums, features = (column.buffers()[-1] for column in batch.columns)
    if features.size < batch.num_rows * key.row_bytes:
        raise BadShardError("its rows are cut off")
    return (
        np.frombuffer(digests, _DIGEST, batch.num_rows),
        np.frombuffer(checksums, np.uint32, batch.num_rows),
        (features.address),
    )
