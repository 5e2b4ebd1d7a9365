"""Compares two models on the classes that both know, where TFMA cannot: it takes one class list for both."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from components import progress
from components.records.evaluation import Baseline
from schema import features
from serving.client import predict
from serving.export import signatures
from serving.releases.versions import Version

_BATCH_ROWS = 32
Keep = Callable[[list[str], list[str], np.ndarray], None]


def compare_models(
    candidate: str,
    live: Version,
    files: list[str],
    classes: list[str],
    counts: dict[str, int],
    keep: Keep = lambda paths, names, probabilities: None,
) -> Baseline:
    """Asks two models for the most probable of some classes, so that none is punished for classes of its own.

    Both are loaded whole before the first question: the live version may be pruned meanwhile.

    Args:
        candidate: folder of a SavedModel.
        live: another version.
        files: TFRecord files of the test split.
        classes: those that both know.
        counts: test images by class.
        keep: takes the answers of the live version for each batch: paths of the images, its classes in the order of
            its outputs, and their probabilities float32 [batch, classes].
    Returns:
        Accuracies on the test images of these classes. Nothing is compared on less than two classes, or without
        an image of them.
    """
    total = sum(counts.get(name, 0) for name in classes)
    if len(classes) < 2 or not total:
        return describe_uncompared(live.number, classes)
    models = [predict.load_signature(path) for path in (candidate, live.path)]
    hits: np.ndarray = np.zeros(len(models), int)
    for images, labels, paths in _read_batches(files, classes):
        answers = [_ask(model, images) for model in models]
        hits += [np.count_nonzero(_choose(*answer, classes) == labels) for answer in answers]
        keep([path.decode("utf-8", "replace") for path in paths], *answers[1])
        progress.report("images compared", len(labels), total)
    accuracies = (hits / total).tolist()
    return describe_compared(live.number, classes, total, accuracy=accuracies[1], candidate_accuracy=accuracies[0])


def describe_compared(
    version: int, classes: list[str], images: int, accuracy: float, candidate_accuracy: float
) -> Baseline:
    """Returns a baseline with the accuracies of both; see `Baseline` for the arguments."""
    return Baseline(
        version=version,
        compared=images > 0,
        classes=classes,
        images=images,
        accuracy=accuracy,
        candidate_accuracy=candidate_accuracy,
    )


def describe_uncompared(version: int, classes: list[str], problem: str = "") -> Baseline:
    """Returns a baseline with which nothing was compared.

    Args:
        version: number of the live version.
        classes: classes that both know.
        problem: the reason, in words that follow the name of the version; "" for too few classes.
    """
    return Baseline(
        version=version,
        compared=False,
        classes=classes,
        images=0,
        accuracy=None,
        candidate_accuracy=None,
        problem=problem,
    )


def measure_drop(baseline: Baseline) -> float:
    """Returns how far the candidate is below the live version: negative above it, 0 where nothing was compared."""
    if baseline.accuracy is None or baseline.candidate_accuracy is None:
        return 0.0
    return baseline.accuracy - baseline.candidate_accuracy


def _read_batches(files: list[str], classes: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """Encoded images, class names and paths of the examples of some classes, string [batch] each, as NumPy arrays."""
    names = (features.IMAGE, features.LABEL, features.PATH)
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    examples = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, spec))
    known = examples.filter(lambda example: tf.reduce_any(tf.equal(example[features.LABEL], classes)))
    for batch in known.batch(_BATCH_ROWS).as_numpy_iterator():
        yield tuple(batch[name] for name in names)


def _ask(model: tf.types.experimental.ConcreteFunction, images: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Asks about encoded images, string [batch]; returns class names, and probabilities float32 [batch, classes]."""
    outputs = model(**{signatures.IMAGE_BYTES: tf.constant(images)})
    return [name.decode() for name in outputs["classes"][0].numpy()], outputs["probabilities"].numpy()


def _choose(order: list[str], probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The most probable of some classes, string [batch]; of probabilities [batch, classes] in another order."""
    known = probabilities[:, [order.index(name) for name in classes]]
    return np.array([name.encode() for name in classes], object)[known.argmax(axis=1)]
