"""Mean and variance of embeddings, gathered part by part: what tells whether images have drifted."""

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
    """Mean and variance of embeddings of one feature key.

    Attributes:
        kind: what they are, as JSON of `shards.FeatureKey`; those of two keys cannot be compared.
        count: how many.
        mean: float64 [2048].
        squares: sum of the squared distances from the mean, float64 [2048].
    """

    kind: str
    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray, kind: str) -> "Moments":
        """Of embeddings float32 [num_images, 2048]; of none of them, zeros."""
        values: np.ndarray = embeddings.astype(np.float64)
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        return cls(kind, len(values), mean, ((values - mean) ** 2).sum(axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """Of both sets together: Chan, Golub and LeVeque 1979, equations 1.5."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        squares = self.squares + other.squares + delta**2 * (self.count * other.count / count)
        return Moments(self.kind, count, mean, squares)

    def write(self, folder: str) -> None:
        """Writes them into a folder."""
        buffer = io.BytesIO()  # NumPy goes back and forth in a file, which those in a bucket do not allow
        np.savez(buffer, kind=np.array(self.kind), count=self.count, mean=self.mean, squares=self.squares)
        with write_whole(os.path.join(folder, FILE)) as path, open(path, "wb") as file:
            file.write(buffer.getvalue())

    @classmethod
    def read(cls, folder: str) -> "Moments | None":
        """Reads what `write` wrote; None if there is nothing."""
        path = os.path.join(folder, FILE)
        if not gfile(path).exists(path):
            return None
        with gfile(path).GFile(path, "rb") as file:
            return cls._parse(file.read())

    @classmethod
    def read_kept(cls, folder: str) -> "Moments | None":
        """Reads the file of a version, which may be damaged; returns as `read`.

        Raises:
            DamagedError: if there is something that is none of them.
        """
        content = read_bytes(os.path.join(folder, FILE))
        if content is None:
            return None
        try:
            moments = cls._parse(content)
        except Exception as error:  # a torn or foreign file can make any part of NumPy's or zipfile's reader fail
            raise DamagedError(f"not what the Embedder wrote: {error or type(error).__name__}") from None
        if moments.mean.ndim != 1 or moments.mean.shape != moments.squares.shape:
            raise DamagedError("not what the Embedder wrote: mean and squares have not the shape that they should have")
        return moments

    @classmethod
    def _parse(cls, content: bytes) -> "Moments":
        with np.load(io.BytesIO(content), allow_pickle=False) as values:
            return cls(str(values["kind"]), int(values["count"]), values["mean"], values["squares"])


def measure_distance(moments: Moments, before: Moments) -> float:
    """How far a mean is from an earlier one, in standard deviations of the earlier embeddings.

    Over all features together, |mean - mean'| / sqrt(sum of variances'): a single feature that hardly varies would
    make any distance of its own.

    Args:
        moments: of the images of this run, at least one.
        before: of the earlier ones, at least two.
    """
    spread = float(before.squares.sum() / before.count) or 1.0
    return float(np.sqrt(((moments.mean - before.mean) ** 2).sum() / spread))
