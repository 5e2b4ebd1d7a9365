"""Class means and covariances of the training embeddings, reduced to the axes in which the classes differ."""

from collections.abc import Iterable

import numpy as np
import scipy.linalg

from serving.export.class_distance import ClassDistance

_MOST_AXES = 256  # 2 MB of float32; of more classes, the axes that part them most
_LEAST_SHRINKAGE = 1e-3  # keeps the covariance invertible where Ledoit and Wolf's shrinkage is 0
_LEAST_SHARE = 1e-6  # of the largest variance between the classes, below which an axis parts no classes
_MOST_IMAGES = 100_000  # the sums of more images take minutes, and change nothing
_ROWS = 4096  # embeddings that are float64 at once; 64 MB
_BITS = 12  # of a constant's mantissa: another number of threads changes lower ones


def fit_distance(embeddings: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[ClassDistance | None, str]:
    """Fits the distance of `serving.export.class_distance` to embeddings.

    With the covariance of all images as the sum of the one within the classes, W, and the one between them, B, both
    distances differ on the axes of linear discriminant analysis only, of which there are fewer than classes: the
    eigenvectors of W^-1 B. W is singular for fewer images than dimensions, so it is shrunk towards a multiple of the
    identity by the share of Ledoit and Wolf (2004), which minimizes the expected squared error and needs no further
    pass. All sums are float64.

    Args:
        embeddings: float32 [num_images, 2048]; of more than 100,000 images, 100,000 at equal distances count.
        labels: class indices, int64 [num_images].
        num_classes: number of classes.
    Returns:
        The distance and ""; or None and the reason for none, as a clause.
    """
    step = -(-len(labels) // _MOST_IMAGES) or 1
    embeddings, labels = embeddings[::step], labels[::step]
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        return None, "a class has no image in train"
    if not np.isfinite(embeddings).all():
        return None, "the embeddings of train are not finite"
    sums = np.zeros([num_classes, embeddings.shape[1]])
    for rows in _slice(len(labels)):
        np.add.at(sums, labels[rows], embeddings[rows].astype(np.float64))
    means, mean = sums / counts[:, np.newaxis], sums.sum(axis=0) / len(labels)
    weighted = ((means - mean) * np.sqrt(counts / len(labels))[:, np.newaxis]).T
    solved = _solve_within(embeddings, labels, means, weighted)
    if solved is None:
        return None, "the embeddings of each class in train are all the same"
    variances, rotation = np.linalg.eigh(weighted.T @ solved)
    chosen = np.flatnonzero(variances > _LEAST_SHARE * max(variances[-1], _LEAST_SHARE))[::-1][:_MOST_AXES]
    if not len(chosen):
        return None, "the classes in train have the same mean embedding"
    axes = round_bits(solved @ rotation[:, chosen] / np.sqrt(variances[chosen]))
    center = round_bits(mean)
    return ClassDistance(center, axes, round_bits((means - center) @ axes), round_bits(1 + variances[chosen])), ""


def _slice(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _solve_within(
    embeddings: np.ndarray, labels: np.ndarray, means: np.ndarray, right: np.ndarray
) -> np.ndarray | None:
    """Solves W x = `right` for the shrunk covariance W within the classes; returns None if W is 0.

    With fewer images than dimensions, the products of the images stand for those of the dimensions, by Woodbury's
    identity: both matrices have the same trace and the same sum of squares.

    Args:
        embeddings: float32 [num_images, size].
        labels: class indices, int64 [num_images].
        means: mean of each class, float64 [num_classes, size].
        right: float64 [size, n].
    """
    count, size = embeddings.shape
    parts = (embeddings[rows] - means[labels[rows]] for rows in _slice(count))
    few = np.concatenate(list(parts)) if count < size else None
    products, fourth = _sum_products(parts, size) if few is None else (few @ few.T, _sum_fourth(few))
    variance, share = _find_shrinkage(products, fourth, count, size)
    if not variance > 0:
        return None
    scale, ridge = (1 - share) / count, share * variance
    matrix: np.ndarray = scale * products
    matrix[np.diag_indices(len(matrix))] += ridge
    if few is None:
        return np.asarray(scipy.linalg.solve(matrix, right, assume_a="pos"))
    return np.asarray(right - few.T @ scipy.linalg.solve(matrix, scale * (few @ right), assume_a="pos")) / ridge


def _sum_products(parts: Iterable[np.ndarray], size: int) -> tuple[np.ndarray, float]:
    """Returns the sum of the outer products of residuals, and that of the fourth powers of their lengths."""
    products, fourth = np.zeros([size, size]), 0.0
    for residuals in parts:
        products += residuals.T @ residuals
        fourth += _sum_fourth(residuals)
    return products, fourth


def _sum_fourth(residuals: np.ndarray) -> float:
    return float(np.square(np.square(residuals).sum(axis=1)).sum())


def _find_shrinkage(products: np.ndarray, fourth: float, count: int, size: int) -> tuple[float, float]:
    """Returns the mean variance, and the share of the identity after Ledoit and Wolf (2004), 0 to 1.

    Args:
        products: sum of the outer products of the residuals, or their inner products.
        fourth: sum of the fourth powers of the residuals' lengths.
        count: number of residuals.
        size: number of dimensions.
    """
    variance, squares = float(np.trace(products)) / count / size, float(np.square(products / count).sum())
    distance = squares - size * variance**2  # of the covariance from the identity times the mean variance
    error = (fourth / count - squares) / count  # of the covariance; both are squared
    return variance, min(1.0, max(_LEAST_SHRINKAGE, error / distance if distance > 0 else 1.0))


def round_bits(values: np.ndarray) -> np.ndarray:
    """Rounds to 12 bits; float32. So the constants do not depend on the number of threads that summed them."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2**_BITS) / 2**_BITS, exponent).astype(np.float32)
