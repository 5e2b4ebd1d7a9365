"""List of the images that a run kept, in one Parquet file with one row per image. Imports no TensorFlow."""

import dataclasses
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from serving.storage.documents import DocumentError
from serving.storage.side_files import DamagedError, read_bytes
from serving.storage.whole_files import write_whole

IMAGES = "images.parquet"
FORMAT = 1
_METADATA = b"graft_images"
_COLUMNS = ("split", "digest", "path", "label")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS], metadata={_METADATA: str(FORMAT)})


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """Image of a run.

    Attributes:
        split: "train", "val" or "test".
        digest: sha256 of the image's bytes, in hex; unique within a run.
        path: path relative to the data folder.
        label: class of the image.
    """

    split: str
    digest: str
    path: str
    label: str


def write_image_list(path: str, images: Iterable[ListedImage]) -> None:
    """Writes a Parquet file, whole or not at all, on this machine or in a store."""
    rows = [dataclasses.astuple(image) for image in images]
    columns = [pa.array([row[column] for row in rows], pa.string()) for column in range(len(_COLUMNS))]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_image_list(path: str) -> list[ListedImage]:
    """Reads a Parquet file of `write_image_list`, in its order.

    Raises:
        DocumentError: if the file is missing, damaged or of a newer format.
    """
    try:
        content = read_bytes(path)
        if content is None:
            raise DocumentError(f"{path}: is missing")
        table = pq.ParquetFile(pa.BufferReader(content)).read()  # pq.read_table imports pandas
        found = int((table.schema.metadata or {})[_METADATA])
        if found == FORMAT and table.schema.equals(_SCHEMA) and not any(c.null_count for c in table.columns):
            columns = (table.column(name).to_pylist() for name in _COLUMNS)
            return [ListedImage(*row) for row in zip(*columns, strict=True)]
    except (pa.ArrowException, DamagedError, OSError, KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"{path}: not the images of a run: {error}") from error
    if found == FORMAT:
        raise DocumentError(f"{path}: not the images of a run: its columns are other ones, or lack values")
    raise DocumentError(f"{path}: format {found}; this Graft reads {FORMAT}. Use the Graft that wrote it.")
