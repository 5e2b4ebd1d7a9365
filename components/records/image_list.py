"""List of the images that a run kept, in one Parquet file with one row per image. Imports no TensorFlow."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Self

from serving.storage.documents import DocumentError
from serving.storage.side_files import DamagedError, read_bytes
from serving.storage.whole_files import write_whole

IMAGES = "images.parquet"
FORMAT = 1
_METADATA = b"graft_images"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("split", "digest", "path", "label")),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("brightness", pa.float32()),
        ("orientation", pa.int8()),
    ],
    metadata={_METADATA: str(FORMAT)},
)


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """Image of a run.

    Attributes:
        split: "train", "val" or "test".
        digest: sha256 of the image's bytes, in hex; unique within a run.
        path: path relative to the data folder.
        label: class of the image.
        width, height: size in pixels.
        brightness: mean pixel value, 0 to 255.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    split: str
    digest: str
    path: str
    label: str
    width: int = 0
    height: int = 0
    brightness: float = 0.0
    orientation: int = 1


@dataclasses.dataclass(frozen=True)
class ImageProperties:
    """Size, brightness and orientation of N images.

    Attributes:
        digest: hex sha256 of each file.
        width, height: size in pixels, int32 [N].
        brightness: mean pixel value, 0 to 255, float32 [N].
        orientation: EXIF orientation, 1 to 8, int8 [N]; 0 if unknown.
    """

    digest: list[str]
    width: np.ndarray
    height: np.ndarray
    brightness: np.ndarray
    orientation: np.ndarray

    def select(self, digests: list[str]) -> Self:
        """Returns the rows of some images, in their order; zeros and NaN for an image without a row."""
        rows = {digest: row for row, digest in enumerate(self.digest)}
        index = np.array([rows.get(digest, -1) for digest in digests], np.int64)  # -1: the row that is appended
        width, height, orientation = (np.append(v, 0)[index] for v in (self.width, self.height, self.orientation))
        brightness = np.append(self.brightness, np.nan)[index]
        return dataclasses.replace(
            self, digest=digests, width=width, height=height, brightness=brightness, orientation=orientation
        )


def write_image_list(path: str, images: Iterable[ListedImage]) -> None:
    """Writes a Parquet file, whole or not at all, on this machine or in a store."""
    listed = list(images)
    columns = [pa.array([getattr(image, field.name) for image in listed], field.type) for field in _SCHEMA]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_image_list(path: str) -> list[ListedImage]:
    """Reads a Parquet file of `write_image_list`, in its order.

    Raises:
        DocumentError: if the file is missing, damaged or of a newer format.
    """
    table = _read_table(path, _SCHEMA.names)
    columns = (table.column(name).to_pylist() for name in _SCHEMA.names)
    return [ListedImage(*row) for row in zip(*columns, strict=True)]


def read_image_properties(path: str) -> ImageProperties:
    """Reads size, brightness and orientation alone from a Parquet file of `write_image_list`.

    Raises:
        DocumentError: as `read_image_list`.
    """
    names = ("width", "height", "brightness", "orientation")
    table = _read_table(path, ("digest", *names))
    return ImageProperties(table.column("digest").to_pylist(), *(table.column(name).to_numpy() for name in names))


def _read_table(path: str, names: Sequence[str]) -> pa.Table:
    try:
        content = read_bytes(path)
        if content is None:
            raise DocumentError(f"{path}: is missing")
        file = pq.ParquetFile(pa.BufferReader(content))  # pq.read_table imports pandas
        found = int((file.schema_arrow.metadata or {})[_METADATA])
        if found == FORMAT and file.schema_arrow.equals(_SCHEMA):
            table = file.read(columns=list(names))
            if not any(column.null_count for column in table.columns):
                return table
    except (pa.ArrowException, DamagedError, OSError, KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"{path}: not the images of a run: {error}") from error
    if found == FORMAT:
        raise DocumentError(f"{path}: not the images of a run: its columns are other ones, or lack values")
    raise DocumentError(f"{path}: format {found}; this Graft reads {FORMAT}. Use the Graft that wrote it.")
