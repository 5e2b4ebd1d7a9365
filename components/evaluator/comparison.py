"""Compares two models on the classes that both know, where TFMA cannot: it takes one class list for both."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components import progress
from schema import features
from serving.client import predict
from serving.export import signatures

_BATCH_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the live version and the candidate do on the same test images.

    Attributes:
        classes: those that both know, in the candidate's order.
        images: how many test images they have; 0 where nothing was compared.
        accuracy: the live version's, 0 to 1; None where nothing was compared.
        candidate_accuracy: the candidate's.
        problem: why nothing was compared, in words that follow the name of the version; "" where that is the classes.
    """

    classes: list[str]
    images: int = 0
    accuracy: float | None = None
    candidate_accuracy: float | None = None
    problem: str = ""

    @property
    def drop(self) -> float:
        """How far the candidate is below the live version; negative if it is above, 0 where nothing was compared."""
        if self.accuracy is None or self.candidate_accuracy is None:
            return 0.0
        return self.accuracy - self.candidate_accuracy


def compare_models(
    candidate: str, live: str, files: list[str], classes: list[str], counts: dict[str, int]
) -> Comparison:
    """Asks two models for the most probable of some classes, so that none is punished for classes of its own.

    Both are loaded whole before the first question: the live version may be pruned meanwhile.

    Args:
        candidate: folder of a SavedModel.
        live: folder of another.
        files: TFRecord files of the test split.
        classes: those that both know.
        counts: test images by class.
    Returns:
        Accuracies on the test images of these classes. Nothing is compared on less than two classes, or without
        an image of them.
    """
    total = sum(counts.get(name, 0) for name in classes)
    if len(classes) < 2 or not total:
        return Comparison(classes)
    models = [predict.load_signature(path) for path in (candidate, live)]
    hits: np.ndarray = np.zeros(len(models), int)
    for images, labels in _read_batches(files, classes):
        hits += [np.count_nonzero(_choose(model, images, classes) == labels) for model in models]
        progress.report("images compared", len(labels), total)
    accuracies = (hits / total).tolist()
    return Comparison(classes, total, accuracy=accuracies[1], candidate_accuracy=accuracies[0])


def _read_batches(files: list[str], classes: list[str]) -> Any:
    """Encoded images and class names of the examples of some classes, string [batch] each, as NumPy arrays."""
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (features.IMAGE, features.LABEL)}
    examples = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, spec))
    known = examples.filter(lambda example: tf.reduce_any(tf.equal(example[features.LABEL], classes)))
    for batch in known.batch(_BATCH_ROWS).as_numpy_iterator():
        yield batch[features.IMAGE], batch[features.LABEL]


def _choose(model: Any, images: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The most probable of some classes; encoded images, string [batch], to class names, string [batch]."""
    outputs = model(**{signatures.IMAGE_BYTES: tf.constant(images)})
    order = [name.decode() for name in outputs["classes"][0].numpy()]
    probabilities = outputs["probabilities"].numpy()[:, [order.index(name) for name in classes]]
    return np.array([name.encode() for name in classes], object)[probabilities.argmax(axis=1)]
