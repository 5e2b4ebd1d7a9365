"""Class means and covariances of the training embeddings, and the score that follows from them."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from components.trainer import class_distance
from components.trainer.acceptance import score_embeddings
from components.trainer.class_distance import fit_distance, round_bits

SIZE = 24


def draw(count, classes=4, size=SIZE, seed=0):
    """Returns embeddings around a mean for each class, with variances from 0.01 to 9, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = rng.normal(0, 1, (classes, size))
    return (centers[labels] + rng.normal(0, np.linspace(0.1, 3, size), (count, size))).astype(np.float32), labels


def measure_by_hand(embeddings, labels, asked):
    """Computes the relative Mahalanobis distance in all dimensions, with scikit-learn's covariance."""
    train = embeddings.astype(float)
    means = np.stack([train[labels == index].mean(axis=0) for index in range(labels.max() + 1)])
    within = LedoitWolf(assume_centered=True).fit(train - means[labels]).covariance_
    apart = (means - train.mean(axis=0))[labels]
    around = within + apart.T @ apart / len(labels)

    def measure(values, mean, covariance):
        return np.einsum("ij,ij->i", (values - mean) @ np.linalg.inv(covariance), values - mean)

    nearest = np.min([measure(asked, mean, within) for mean in means], axis=0)
    return measure(asked, train.mean(axis=0), around) - nearest


@pytest.mark.parametrize("count", [12, 23, 200])
def test_the_score_is_the_relative_mahalanobis_distance_with_the_covariance_of_scikit_learn(count):
    """On three axes as in 24 dimensions; with fewer images than dimensions, too."""
    embeddings, labels = draw(count)
    asked = np.random.default_rng(1).normal(0, 3, (50, SIZE)).astype(np.float32)
    distance, problem = fit_distance(embeddings, labels, 4)
    assert (problem, distance.axes.shape, distance.axes.dtype) == ("", (SIZE, 3), np.float32)
    expected = measure_by_hand(embeddings, labels, asked)
    np.testing.assert_allclose(score_embeddings(distance, asked), expected, rtol=5e-3, atol=5e-3 * expected.std())


def test_images_of_another_class_score_lower():
    """Most of them lie below 95 % of the images of the known classes."""
    embeddings, labels = draw(600, classes=6)
    known = labels < 5
    distance, _ = fit_distance(embeddings[known][:300], labels[known][:300], 5)
    least = np.quantile(score_embeddings(distance, embeddings[known][300:]), 0.05)
    assert (score_embeddings(distance, embeddings[~known]) < least).mean() > 0.5


def make(**changed):
    embeddings, labels = draw(40)
    for rows, value in changed.values():
        embeddings[rows] = value
    return embeddings, labels


@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [
        make(constant=((slice(None), slice(5, 20)), 0)),
        make(copies=(slice(0, 36), 1.5), other=(slice(1, 40, 4), 2.5)),
        (draw(40)[0].astype(np.float16), draw(40)[1]),
        (draw(40)[0] * np.float32(1e-18), draw(40)[1]),
        (draw(40)[0] * np.float32(1e9), draw(40)[1]),
        (draw(40)[0], np.minimum(np.arange(40), 3)),
        draw(8),
    ],
    ids=["constant features", "copies of an image", "float16", "tiny", "large", "one image in a class", "two a class"],
)
def test_degenerate_embeddings_have_finite_scores(embeddings, labels):
    """Without a warning of NumPy's, which would be an error here."""
    distance, problem = fit_distance(embeddings, labels, 4)
    assert problem == ""
    with np.errstate(all="raise"):
        scores = score_embeddings(distance, embeddings.astype(np.float32))
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0


@pytest.mark.parametrize(
    ("embeddings", "labels", "problem"),
    [
        (draw(40)[0], np.zeros(40, int), "a class has no image in train"),
        (draw(40)[0] * np.float32(np.nan), draw(40)[1], "the embeddings of train are not finite"),
        (draw(4)[0], np.arange(4), "the embeddings of each class in train are all the same"),
        (np.ones([40, SIZE], np.float32), draw(40)[1], "the embeddings of each class in train are all the same"),
        (np.repeat(draw(10)[0], 4, axis=0), draw(40)[1], "the classes in train have the same mean embedding"),
        (np.zeros([0, SIZE], np.float32), np.zeros(0, int), "a class has no image in train"),
    ],
)
def test_where_no_distance_can_be_fitted_there_is_a_reason(embeddings, labels, problem):
    """The reason is a clause, which the log ends a sentence with."""
    assert fit_distance(embeddings, labels, 4) == (None, problem)


def test_of_many_classes_the_axes_that_part_them_most_are_kept(monkeypatch):
    """In the order of the variance between the classes."""
    embeddings, labels = draw(200, classes=9)
    whole, _ = fit_distance(embeddings, labels, 9)
    monkeypatch.setattr(class_distance, "_MOST_AXES", 3)
    some, _ = fit_distance(embeddings, labels, 9)
    assert (whole.axes.shape, some.axes.shape, some.centers.shape) == ((SIZE, 8), (SIZE, 3), (9, 3))
    assert (np.diff(whole.spread) < 0).all()
    np.testing.assert_array_equal(some.axes, whole.axes[:, :3])


def test_of_more_images_than_are_needed_a_sample_counts(monkeypatch):
    """Every third image, here; in parts, as they are read."""
    embeddings, labels = draw(90)
    expected, _ = fit_distance(embeddings[::3], labels[::3], 4)
    monkeypatch.setattr(class_distance, "_MOST_IMAGES", 30)
    monkeypatch.setattr(class_distance, "_ROWS", 7)
    found, _ = fit_distance(embeddings, labels, 4)
    np.testing.assert_allclose(found.axes, expected.axes, rtol=1e-3)


def test_constants_do_not_show_the_last_bits_of_a_sum():
    """Rounded to 12 bits: another order of summands changes the 53rd."""
    values = np.random.default_rng(0).normal(0, 1e3, 1000)
    rounded = round_bits(values)
    np.testing.assert_allclose(rounded, values, rtol=2**-12)
    np.testing.assert_array_equal(round_bits(values * (1 + 1e-14)), rounded)
    np.testing.assert_array_equal(round_bits(np.array([0.0, -1.0])), [0, -1])


@pytest.mark.long
def test_a_thousand_classes_of_2048_dimensions_take_3_mb():
    """Their constants are float32, and finite."""
    embeddings, labels = draw(3000, classes=1000, size=2048)
    distance, problem = fit_distance(embeddings, labels, 1000)
    arrays = [distance.mean, distance.axes, distance.centers, distance.spread]
    assert problem == ""
    assert sum(array.nbytes for array in arrays) < 3.2e6
    assert np.isfinite(score_embeddings(distance, embeddings[:100])).all()
