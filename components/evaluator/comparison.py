"""Comparison of two models with different class lists, on the classes of both; TFMA takes one class list only."""

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
    """Compares the accuracies of two models on the classes that both have.

    Each model chooses among the common classes only, so that its other classes do not lower its accuracy. Both models
    are loaded whole before the first prediction, because the live version may be pruned meanwhile.

    Args:
        candidate: folder of a SavedModel.
        live: live version.
        files: TFRecord files of the test split.
        classes: classes of both models.
        counts: number of test images by class.
        keep: takes the predictions of the live version for each batch: paths of the images, class names in the order
            of the outputs, probabilities float32 [batch, classes].
    Returns:
        Accuracies on the test images of these classes. With fewer than two classes, or without a test image of them,
        the result says that the models were not compared.
    """
    total = sum(counts.get(name, 0) for name in classes)
    if len(classes) < 2 or not total:
        return describe_uncompared(live.number, classes)
    models = [predict.load_signature(path) for path in (candidate, live.path)]
    hits: np.ndarray = np.zeros(len(models), int)
    for images, labels, paths in _read_batches(files, classes):
        outputs = [_predict(model, images) for model in models]
        hits += [np.count_nonzero(_select_class(*output, classes) == labels) for output in outputs]
        keep([path.decode("utf-8", "replace") for path in paths], *outputs[1])
        progress.report("images compared", len(labels), total)
    accuracies = (hits / total).tolist()
    return describe_compared(live.number, classes, total, accuracy=accuracies[1], candidate_accuracy=accuracies[0])


def describe_compared(
    version: int, classes: list[str], images: int, accuracy: float, candidate_accuracy: float
) -> Baseline:
    """Builds a baseline with the accuracies of both models; see `Baseline` for the arguments."""
    return Baseline(
        version=version,
        compared=images > 0,
        classes=classes,
        images=images,
        accuracy=accuracy,
        candidate_accuracy=candidate_accuracy,
    )


def describe_uncompared(version: int, classes: list[str], problem: str = "") -> Baseline:
    """Builds a baseline for a live version that was not compared with the candidate.

    Args:
        version: number of the live version.
        classes: classes of both models.
        problem: reason, as a clause that follows the name of the version; "" for too few classes.
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
    """Returns the live version's accuracy minus the candidate's accuracy; 0 if the models were not compared."""
    if baseline.accuracy is None or baseline.candidate_accuracy is None:
        return 0.0
    return baseline.accuracy - baseline.candidate_accuracy


def _read_batches(files: list[str], classes: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches of encoded images, class names and paths, string [batch] each, of the examples in `classes`."""
    names = (features.IMAGE, features.LABEL, features.PATH)
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    examples = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, spec))
    known = examples.filter(lambda example: tf.reduce_any(tf.equal(example[features.LABEL], classes)))
    for batch in known.batch(_BATCH_ROWS).as_numpy_iterator():
        yield tuple(batch[name] for name in names)


def _predict(model: tf.types.experimental.ConcreteFunction, images: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Predicts encoded images, string [batch]; returns class names and probabilities float32 [batch, classes]."""
    outputs = model(**{signatures.IMAGE_BYTES: tf.constant(images)})
    return [name.decode() for name in outputs["classes"][0].numpy()], outputs["probabilities"].numpy()


def _select_class(order: list[str], probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Selects the most probable one of `classes`, string [batch], from probabilities [batch, classes of `order`]."""
    known = probabilities[:, [order.index(name) for name in classes]]
    return np.array([name.encode() for name in classes], object)[known.argmax(axis=1)]
