"""Predictions of the test images by a version that TFMA does not evaluate: TFMA takes two models of one class list.

Predicts stored embeddings where the version takes them, else images, in this process.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components import progress
from components.embedder.artifact import ImageRow, read_rows
from components.example_files import list_split
from components.records.embedding import EmbeddingSummary
from components.records.predictions import Predictions, no_baseline
from components.tfdata import without_autotune
from schema import features
from schema.errors import UsageError
from serving.client import predict
from serving.export import signatures
from serving.releases.versions import Version

_BATCH_ROWS = 32
_EMBEDDED_BATCH_ROWS = 1024  # 8 MB of embeddings


@dataclasses.dataclass(frozen=True)
class VersionPredictions:
    """Predictions of the test images by a version.

    Attributes:
        version: number of the version.
        classes: class names in the order of the outputs; None without a prediction.
        rows: probabilities, float32 [num_classes], by the path of the image.
        problem: reason for no predictions, as a clause that follows the name of the version; "" otherwise.
    """

    version: int
    classes: list[str] | None = None
    rows: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    problem: str = ""

    def add_to(self, kept: Predictions) -> Predictions:
        """Adds the version to the candidate's predictions; a row of NaN for an image without its prediction."""
        baseline = no_baseline(len(kept), len(self.classes or ()))
        for row, path in enumerate(kept.path):
            if path in self.rows:
                baseline[row] = self.rows[path]
        return kept.with_baseline(self.version, self.classes, baseline)


def predict_test(version: Version, classes: list[str], examples: str, embeddings: str) -> VersionPredictions:
    """Predicts the test images of the classes that a version and the candidate have.

    The model is loaded whole before the first prediction, because the version may be pruned meanwhile.

    Args:
        version: the version.
        classes: class names of the candidate.
        examples: folder of the examples of `test`.
        embeddings: folder of the Embedder's artifact.
    Returns:
        The predictions; without any if there are fewer than two such classes.
    Raises:
        UsageError: if the version cannot be loaded.
    """
    if version.problem:
        return VersionPredictions(version.number, problem="whose record cannot be read")
    common = [name for name in classes if name in version.record.classes]
    if len(common) < 2:
        return VersionPredictions(version.number)
    key, folder = EmbeddingSummary.read(embeddings).kind, os.path.join(embeddings, f"Split-{features.TEST}")
    embedded = key is not None and signatures.read_embedding_key(version.path) == key and tf.io.gfile.isdir(folder)
    model = predict.load_signature(version.path, signatures.EMBEDDED_EXAMPLES if embedded else signatures.EXAMPLES)
    files, size = list_split(folder if embedded else examples), _EMBEDDED_BATCH_ROWS if embedded else _BATCH_ROWS
    order: list[str] | None = None
    rows: dict[str, np.ndarray] = {}
    for batch, described in _read_batches(files, common, size):
        outputs = model(examples=tf.constant(batch))
        order = order or [name.decode() for name in outputs["classes"][0].numpy()]
        paths = [row.path.decode("utf-8", "replace") for row in described]
        rows |= dict(zip(paths, outputs["probabilities"].numpy(), strict=True))
        progress.report(f"images predicted by version {version.number}", len(batch))
    return VersionPredictions(version.number, order, rows)


def try_predict_test(version: Version, classes: list[str], examples: str, embeddings: str) -> VersionPredictions:
    """Predicts as `predict_test`; a version that cannot be loaded gets a `problem`."""
    try:
        return predict_test(version, classes, examples, embeddings)
    except (UsageError, tf.errors.OpError, KeyError) as error:  # KeyError: other outputs than Graft's
        logging.warning("Evaluator: no predictions by version %s: %s", version.number, error)
        return VersionPredictions(version.number, problem="which cannot be used; the log says why")


def _read_batches(files: list[str], classes: list[str], size: int) -> Iterator[tuple[list[bytes], list[ImageRow]]]:
    """Yields batches of serialized examples of `classes` from TFRecord files, and the rows that describe them."""
    known = {name.encode() for name in classes}
    for file in files:
        rows = iter(read_rows(file))
        for batch in without_autotune(tf.data.TFRecordDataset(file).batch(size)).as_numpy_iterator():
            pairs = [(record, row) for record, row in zip(batch, rows, strict=False) if row.label in known]
            if pairs:
                yield [record for record, _ in pairs], [row for _, row in pairs]
