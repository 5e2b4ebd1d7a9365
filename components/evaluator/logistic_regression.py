"""Logistic regression on the embeddings: an accuracy that the trained model should reach.

The Evaluator fits it, because its artifact of the Embedder has the embeddings of all splits and its predictions of the
test images say whether a difference may be chance. No image goes through the base for it.
"""

import functools
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from components import progress
from components.embedder.artifact import Embedded, find_digest_limit, read_embeddings
from components.proportions import two_sided_mcnemar_p
from components.records.embedding import EmbeddingSummary
from components.records.evaluation import LogisticRegression
from components.records.predictions import Predictions
from schema import features
from serving.process.cores import count_cores
from serving.storage.threads import map_in_threads

_MOST_IMAGES, _FEWEST_IMAGES = 10_000, 2_000  # limits of a sample; an embedding takes 8 kB
_MOST_OUTPUTS = 1_000_000  # images times classes, which the time grows with
_STRENGTHS = (1e-4, 1e-3, 1e-2)  # scikit-learn's C on standardized features, the strongest regularization first
_MOST_ITERATIONS = 50
_LEAST_PROBABILITY = 1e-12
_LEAST_VARIANCE = 1e-3  # as a share of the mean variance, see `resnet.standardize`


def measure_baseline(uri: str, classes: list[str], predictions: Predictions) -> LogisticRegression | None:
    """Fits a logistic regression on `train`, chooses its strength on `val`, and compares it with the model on `test`.

    Args:
        uri: folder of the Embedder's artifact.
        classes: class names, in the order of the outputs.
        predictions: predictions of the test images by the model.
    Returns:
        The accuracies; None if the images have no embeddings, or `train` has images of one class only.
    """
    if EmbeddingSummary.read(uri).kind is None:
        return None
    progress.report("fitting a logistic regression to compare with")
    most = max(_FEWEST_IMAGES, min(_MOST_IMAGES, _MOST_OUTPUTS // len(classes)))
    read = functools.partial(read_sample, uri, classes, most)
    train, val, test = map_in_threads(read, features.SPLITS, count_cores())
    if len(np.unique(train.labels)) < 2:
        return None
    standardize(train, val, test)
    best = min(fit_each(train, _STRENGTHS), key=lambda model: measure_loss(model, val, len(classes)))
    right = best.predict(test.embeddings) == test.labels
    model_right = _find_right(predictions, test)
    return LogisticRegression(
        strength=best.C,
        train_images=len(train.labels),
        val_images=len(val.labels),
        val_accuracy=float(np.mean(best.predict(val.embeddings) == val.labels)),
        test_images=len(test.labels),
        test_accuracy=float(right.mean()),
        model_accuracy=float(model_right.mean()),
        p_value=compare_paired(right, model_right),
    )


def read_sample(uri: str, classes: list[str], most: int, split: str) -> Embedded:
    """Reads the embeddings of a split, or of the `most` images with the lowest digests, in the order of the digests."""
    embedded = read_embeddings(uri, split, classes, find_digest_limit(uri, split, most))
    order = sorted(range(len(embedded.digests)), key=embedded.digests.__getitem__)
    return Embedded(embedded.embeddings[order], embedded.labels[order], [embedded.digests[i] for i in order])


def standardize(train: Embedded, *others: Embedded) -> None:
    """Scales embeddings in place to mean 0 and variance 1 in `train`, with a floor of the variances as in the head."""
    mean, variance = train.embeddings.mean(axis=0), train.embeddings.var(axis=0)
    scale = np.sqrt(np.maximum(variance, _LEAST_VARIANCE * variance.mean() or 1.0))
    for sample in (train, *others):
        np.subtract(sample.embeddings, mean, out=sample.embeddings)
        np.divide(sample.embeddings, scale, out=sample.embeddings)


def fit_each(train: Embedded, strengths: Sequence[float]) -> list[linear_model.LogisticRegression]:
    """Fits a logistic regression of each strength, one on each core.

    A fit that spread its products over the cores would depend on their number, in the last bits of its coefficients.
    """
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # here, because warnings are filtered for all threads
        return map_in_threads(functools.partial(fit, train), strengths, count_cores())


def fit(train: Embedded, strength: float) -> linear_model.LogisticRegression:
    """Fits a multinomial logistic regression; one that has not converged after 50 iterations is good enough."""
    return linear_model.LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS).fit(train.embeddings, train.labels)


def measure_loss(model: linear_model.LogisticRegression, sample: Embedded, num_classes: int) -> float:
    """Returns the mean cross-entropy; a class without an image in `train` has the probability 0."""
    probabilities = np.zeros([len(sample.labels), num_classes])
    probabilities[:, model.classes_] = model.predict_proba(sample.embeddings)
    given = probabilities[np.arange(len(sample.labels)), sample.labels]
    return float(-np.log(np.maximum(given, _LEAST_PROBABILITY)).mean())


def compare_paired(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the two-sided p-value of McNemar's exact test (1947) for two bool arrays on the same images."""
    return two_sided_mcnemar_p(int((one & ~other).sum()), int((other & ~one).sum()))


def _find_right(predictions: Predictions, test: Embedded) -> np.ndarray:
    """Returns whether the model predicts each image of the sample right; bool [num_images]."""
    answers = dict(zip(predictions.digest, predictions.candidate.argmax(axis=1), strict=True))
    return np.array([answers[digest.hex()] for digest in test.digests]) == test.labels
