"""Worker of the Embedder: the DoFn that embeds the images of a file, and the base and the stores of its process.

An element of the Beam pipeline is a file of ExampleGen: a worker reads its images, runs them through the base in
batches, and writes. Beam's RunInference would pass each image through Beam's buffers and read in one thread; here
threads decode the next batches while the base computes, and memory holds a few batches. The decoding of the bundle's
next file begins while the base still computes images of this one, so that neither waits at the end of a file.
"""

import collections
import contextlib
import dataclasses
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils import shared
from apache_beam.utils.windowed_value import WindowedValue

from components import progress
from components.embedder.artifact import ImageRow, read_rows, write_embeddings
from components.embedder.backbone import BaseSpec, Batches, FrozenBase
from components.embedder.moments import Moments
from components.row_store.shards import Append, FeatureKey
from components.row_store.store import EmbeddingStore, Rows
from schema import features
from schema.errors import GraftError

_CHECKED_IMAGES = 8
_TOLERANCE = 1e-2  # relative to the largest value; batch sizes and processors change the last bits


@dataclasses.dataclass(frozen=True)
class Work:
    """Settings of a worker, a few hundred bytes to send.

    Attributes:
        base: specification of the frozen base.
        transform_graph: folder of the transform graph.
        store: folder of the embedding store.
        embedding_key: feature key of the embeddings.
        extractor_key: feature key of the features that phase 2 starts from; None to store no such features.
        total: number of images to embed, for the progress.
        run: name of this run of the Embedder, with which the names of its shards begin.
    """

    base: BaseSpec
    transform_graph: str
    store: str
    embedding_key: FeatureKey
    extractor_key: FeatureKey | None
    total: int
    run: str


@dataclasses.dataclass(frozen=True)
class ExampleFile:
    """File of ExampleGen to read (source), file of embeddings to write (target), and the split of its images."""

    source: str
    target: str
    split: str

    @property
    def fine_tuned(self) -> bool:
        """True if phase 2 trains or validates on the images of the file."""
        return self.split != features.TEST


class EmbedFile(beam.DoFn):
    """Beam DoFn that embeds the images of files. The threads of a process share one worker.

    A file is finished when the next one of the bundle has come, whose decoding begins in a thread of its own. After an
    error Beam tries the whole bundle anew; the store then has the rows of the finished files.
    """

    def __init__(self, work: Work):
        """Takes the settings of the worker. Beam pickles this object, so the base is built later."""
        self._work = work
        self._shared = shared.Shared()

    def setup(self) -> None:
        """Acquires the worker of this process, which may be that of an attempt that has failed."""
        self._attempt = uuid.uuid4().hex[:8]
        self._worker = self.acquire_worker()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def acquire_worker(self, base: FrozenBase | None = None) -> "Worker":
        """Returns the process-wide worker; creates it, with `base` if given, unless another thread holds one."""
        return self._shared.acquire(lambda: Worker(self._work, base))

    def start_bundle(self) -> None:
        """Forgets the files of a bundle that has failed."""
        self._begun: collections.deque[Future[Begun]] = collections.deque()

    def process(self, element: ExampleFile) -> Iterator[tuple[int, Moments]]:
        """Begins with a file, and embeds the one before; yields the result of `Worker.finish`."""
        self._begun.append(self._reader.submit(self._worker.begin, element, self._attempt))
        if len(self._begun) > 1:
            yield self._worker.finish(self._begun.popleft().result())

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Embeds the last file of a bundle."""
        while self._begun:
            result = self._worker.finish(self._begun.popleft().result())
            yield GlobalWindows.windowed_value_at_end_of_window(result)

    def teardown(self) -> None:
        """Ends the thread that reads ahead."""
        self._reader.shutdown(wait=False, cancel_futures=True)


@dataclasses.dataclass(frozen=True)
class Present:
    """Rows that were in the stores when a worker began with a file.

    Attributes:
        embeddings: rows of embeddings.
        features: rows of the features that phase 2 starts from; None if none are stored of the file's images.
        prefix: run and attempt, with which the names of new shards begin.
    """

    embeddings: Rows
    features: Rows | None
    prefix: str


@dataclasses.dataclass(frozen=True)
class Begun:
    """File that a worker has begun with.

    Attributes:
        file: the file.
        rows: digest, label and path of each image.
        present: rows that were in the stores.
        embeddings: stored embeddings, float32 [num_images, 2048]; the worker fills in the others.
        stored: bool [num_images], true for images with a stored embedding.
        todo: bool [num_images], true for images to run through the base.
        computed: bool [num_images], true for images that this run has run through the base in an earlier attempt.
        batches: images to run through the base; threads decode a few batches ahead.
    """

    file: ExampleFile
    rows: list[ImageRow]
    present: Present
    embeddings: np.ndarray
    stored: np.ndarray
    todo: np.ndarray
    computed: np.ndarray
    batches: Batches


class Worker:
    """Base of a process, with the rows that were in the stores when the worker last looked.

    The worker outlives a job that the engine starts anew, so it looks again before each file.
    """

    def __init__(self, work: Work, base: FrozenBase | None = None):
        """Opens the store, and builds the base if none is given.

        Raises:
            GraftError: if the base differs from that of the Embedder's own process.
        """
        self._work = work
        self._base = base or FrozenBase(work.base, work.transform_graph, work.total)
        _reject_other_base(self._base.embedding_key, work.embedding_key)
        self._store = EmbeddingStore(work.store, work.embedding_key)
        self._rows = self._store.open()
        self._features = EmbeddingStore(work.store, work.extractor_key) if work.extractor_key else None
        self._feature_rows = self._features.open() if self._features else None
        self._checked = False

    def begin(self, file: ExampleFile, attempt: str = "") -> Begun:
        """Reads the stored embeddings of a file's images, and begins to decode the other images.

        Args:
            file: file of images.
            attempt: name of the attempt, which follows that of the run in the names of shards.
        """
        rows = read_rows(file.source)
        digests = [row.digest for row in rows]
        present = self._look_again(file, attempt)
        positions = present.embeddings.find(digests)
        stored = present.embeddings.check(positions)
        embeddings: np.ndarray = np.zeros([len(rows), *self._work.embedding_key.shape], np.float32)
        embeddings[stored] = present.embeddings.read(positions[stored])
        todo, computed = ~stored, present.embeddings.are_from(self._work.run, positions)
        if present.features is not None:
            positions = present.features.find(digests)
            todo |= positions < 0
            computed |= present.features.are_from(self._work.run, positions)
        batches = self._base.read(file.source, todo) if todo.any() else iter(())
        return Begun(file, rows, present, embeddings, stored, todo, computed, batches)

    def finish(self, begun: Begun) -> tuple[int, Moments]:
        """Runs the images of a file through the base, and writes their embeddings.

        Returns:
            The number of images run through the base by this run, in an earlier attempt too; and the moments of the
            embeddings if the split is `train`, else moments of no embeddings.
        Raises:
            GraftError: if stored embeddings differ from those that the base computes.
        """
        file, embeddings, todo = begun.file, begun.embeddings, begun.todo
        if begun.stored.any() and not self._checked:
            self._check_stored(begun)
        progress.report("images embedded", int((~todo).sum()), self._work.total)
        if todo.any():
            self._compute(begun)
        write_embeddings(file.target, begun.rows, embeddings)
        trained = embeddings if file.split == features.TRAIN else embeddings[:0]
        return int((todo | begun.computed).sum()), Moments.of(trained, self._work.embedding_key.to_json())

    def _look_again(self, file: ExampleFile, attempt: str) -> Present:
        """Returns the rows that are there now, with those of an earlier attempt, another worker, or another run.

        Other threads look again meanwhile, so a file keeps the rows that it began with.
        """
        self._rows = rows = self._store.open(self._rows)
        prefix = f"{self._work.run}-{attempt}-"
        if not (self._features and file.fine_tuned):
            return Present(rows, None, prefix)
        self._feature_rows = feature_rows = self._features.open(self._feature_rows)
        return Present(rows, feature_rows, prefix)

    def _check_stored(self, begun: Begun) -> None:
        """Recomputes up to 8 stored embeddings, once a worker, to detect a store of another base."""
        keep = begun.stored & (np.cumsum(begun.stored) <= _CHECKED_IMAGES)
        batches = self._base.read(begun.file.source, keep)
        [(indices, expected, _)] = self._base.run(batches, with_features=begun.present.features is not None)
        difference = np.abs(begun.embeddings[indices] - expected).max() / max(float(np.abs(expected).max()), 1e-9)
        if not difference < _TOLERANCE:
            raise GraftError(
                f"{self._work.store}: the embeddings are not what the base makes of the images (they differ by "
                f"{difference:.2g} of their size). Remove this folder, and run again."
            )
        self._checked = True

    def _compute(self, begun: Begun) -> None:
        """Runs images through the base; fills in `embeddings`, and adds the rows that are missing to the store."""
        present = begun.present
        feature_store = None if present.features is None else self._features
        append_to = self._store.append(present.prefix), _append_to(feature_store, present.prefix)
        with append_to[0] as append, append_to[1] as append_features:
            for indices, batch, extracted in self._base.run(begun.batches, with_features=feature_store is not None):
                begun.embeddings[indices] = batch
                digests = [begun.rows[i].digest for i in indices]
                _append_new(append, digests, batch, present.embeddings)
                if extracted is not None and present.features is not None:
                    _append_new(append_features, digests, extracted, present.features)
                progress.report("images embedded", len(batch), self._work.total)


def _reject_other_base(here: FeatureKey, expected: FeatureKey) -> None:
    """Raises GraftError if the base of a worker differs from that of the Embedder's own process."""
    if here.arithmetic != expected.arithmetic:
        raise GraftError(
            f"The base computes in {expected.arithmetic} where the run was started, and in {here.arithmetic} on a "
            "worker. Give all machines of this run a card, or none of them; or set precision to bfloat16, which is the "
            "same on both."
        )
    if here != expected:
        raise GraftError("The base's weights differ between the machines of this run; give each the same file.")


def _append_new(append: Append, digests: list[bytes], rows: np.ndarray, present: Rows) -> None:
    """Appends the rows of images that are not in a store. Rows of a shard that was set aside count as missing."""
    new = np.flatnonzero(present.find(digests) < 0)
    if len(new):
        append([digests[i] for i in new], rows[new])


def _append_to(store: EmbeddingStore | None, prefix: str) -> contextlib.AbstractContextManager[Append]:
    return store.append(prefix) if store else contextlib.nullcontext(lambda digests, rows: None)
