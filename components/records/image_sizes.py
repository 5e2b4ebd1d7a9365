"""Sizes and brightness of the images of `val` and `test`, in one Parquet file. Imports no TensorFlow."""

import dataclasses
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Self

from serving.storage.documents import DocumentError
from serving.storage.gfile import gfile
from serving.storage.whole_files import write_whole

_SCHEMA = pa.schema(
    [("digest", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("brightness", pa.float32())]
)


@dataclasses.dataclass(frozen=True)
class ImageSizes:
    """Sizes and brightness of N images.

    Attributes:
        digest: hex sha256 of each file.
        width, height: size in pixels, int32 [N].
        brightness: mean pixel value, 0 to 255, float32 [N].
    """

    FILE = "image_sizes.parquet"

    digest: list[str]
    width: np.ndarray
    height: np.ndarray
    brightness: np.ndarray

    def write(self, folder: str) -> None:
        """Writes the file into a folder, whole or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        columns = [pa.array(getattr(self, field.name), field.type) for field in _SCHEMA]
        content = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), content, compression="zstd")
        target = os.path.join(folder, self.FILE)
        with write_whole(target) as path, gfile(path).GFile(path, "wb") as file:
            file.write(content.getvalue())

    @classmethod
    def find(cls, folder: str) -> Self | None:
        """Reads the file from a folder; returns None if the file is missing.

        Raises:
            DocumentError: if the file is damaged.
            OSError: if a store does not answer.
        """
        path = os.path.join(folder, cls.FILE)
        if not gfile(path).exists(path):
            return None
        with gfile(path).GFile(path, "rb") as file:
            content = file.read()
        try:
            table = pq.read_table(pa.BufferReader(content), schema=_SCHEMA)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DocumentError(f"{path}: not the sizes of images: {error}") from error
        width, height, brightness = (table.column(name).to_numpy() for name in ("width", "height", "brightness"))
        return cls(table.column("digest").to_pylist(), width, height, brightness)

    def select(self, digests: list[str]) -> Self:
        """Returns the rows of some images, in their order; zeros and NaN for an image without a row."""
        rows = {digest: row for row, digest in enumerate(self.digest)}
        index = np.array([rows.get(digest, -1) for digest in digests], np.int64)
        width, height = (np.where(index < 0, 0, np.append(values, 0)[index]) for values in (self.width, self.height))
        brightness = np.where(index < 0, np.nan, np.append(self.brightness, 0)[index])
        return dataclasses.replace(self, digest=digests, width=width, height=height, brightness=brightness)
