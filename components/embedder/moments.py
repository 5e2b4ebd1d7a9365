"""Mean and variance of embeddings, merged from parts; the DataGate compares those of two runs to find drift."""

import dataclasses
import io
import os

import numpy as np

from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_bytes
from serving.storage.whole_files import write_whole

FILE = "moments.npz"


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and variance of embeddings with one feature key.

    Attributes:
        kind: the `shards.FeatureKey` as JSON; moments of different keys cannot be compared.
        count: number of embeddings.
        mean: mean, float64 [2048].
        squares: sum of the squared distances from the mean, float64 [2048].
    """

    kind: str
    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray, kind: str) -> "Moments":
        """Computes the moments of embeddings float32 [num_images, 2048]; zeros if there are none."""
        values: np.ndarray = embeddings.astype(np.float64)
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        return cls(kind, len(values), mean, ((values - mean) ** 2).sum(axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """Computes the moments of the union of both sets (Chan, Golub and LeVeque 1979, equations 1.5)."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        squares = self.squares + other.squares + delta**2 * (self.count * other.count / count)
        return Moments(self.kind, count, mean, squares)

    def write(self, folder: str) -> None:
        """Writes the moments into a folder, as `moments.npz`."""
        buffer = io.BytesIO()  # NumPy seeks in the file, which a file in a bucket does not allow
        np.savez(buffer, kind=np.array(self.kind), count=self.count, mean=self.mean, squares=self.squares)
        with write_whole(os.path.join(folder, FILE)) as path, open(path, "wb") as file:
            file.write(buffer.getvalue())

    @classmethod
    def read(cls, folder: str) -> "Moments | None":
        """Reads the moments that `write` wrote into a folder; None if the folder has none."""
        path = os.path.join(folder, FILE)
        if not gfile(path).exists(path):
            return None
        with gfile(path).GFile(path, "rb") as file:
            return cls._parse(file.read())

    @classmethod
    def read_kept(cls, folder: str) -> "Moments | None":
        """Reads the moments of a version, whose file may be damaged; None if the version has none.

        Raises:
            DamagedError: if the file holds no moments.
        """
        content = read_bytes(os.path.join(folder, FILE))
        if content is None:
            return None
        try:
            moments = cls._parse(content)
        except Exception as error:  # NumPy's and zipfile's readers raise many classes for a torn or foreign file
            raise DamagedError(f"not what the Embedder wrote: {error or type(error).__name__}") from None
        if moments.mean.ndim != 1 or moments.mean.shape != moments.squares.shape:
            raise DamagedError("not what the Embedder wrote: mean and squares differ in shape, or are no vectors")
        return moments

    @classmethod
    def _parse(cls, content: bytes) -> "Moments":
        with np.load(io.BytesIO(content), allow_pickle=False) as values:
            return cls(str(values["kind"]), int(values["count"]), values["mean"], values["squares"])


def measure_distance(moments: Moments, before: Moments) -> float:
    """Computes the distance of a mean from an earlier one, in standard deviations of the earlier embeddings.

    The distance covers all features together, |mean - mean'| / sqrt(sum of variances'). A distance for each feature
    would be arbitrarily large for a feature that hardly varies.

    Args:
        moments: moments of the images of this run, at least one image.
        before: moments of the earlier images, at least two images.
    """
    spread = float(before.squares.sum() / before.count) or 1.0
    return float(np.sqrt(((moments.mean - before.mean) ** 2).sum() / spread))
