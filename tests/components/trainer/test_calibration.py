"""Temperature and threshold, fitted on the validation images."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from components.probabilities import scale_probabilities, take_logarithms
from components.trainer.calibration import calibrate, count_needed_images, find_threshold
from components.trainer.scoring import Scored
from components.trainer.temperature import fit_temperature


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def draw(count, factor, classes=5, seed=0):
    """Draws labels from the probabilities of logits, and returns the logits times a factor and the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    labels = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return (factor * logits).astype(np.float32), labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_of_the_lowest_log_loss(factor):
    """As scikit-learn computes the loss and SciPy finds its minimum; near the factor of the logits."""
    logits, labels = draw(2000, factor)
    found = fit_temperature(logits, labels)
    best = minimize_scalar(
        lambda t: log_loss(labels, softmax(logits.astype(float) / t)), bounds=(0.05, 20), method="bounded"
    )
    assert found.value == pytest.approx(best.x, rel=0.01)
    assert found.value == pytest.approx(factor, rel=0.15)
    assert found.problem == ""


def test_a_model_that_is_right_on_all_images_does_not_become_certain():
    """By likelihood alone, its probabilities would be 1."""
    logits = np.eye(3)[np.arange(30) % 3] * 4
    value = fit_temperature(logits, np.arange(30) % 3).value
    assert 0.5 < value < 2
    assert softmax(logits / value).max() == pytest.approx(31 / 32, abs=0.02)


@pytest.mark.parametrize(
    ("logits", "labels", "problem"),
    [
        (np.eye(3)[:2], [0, 1], "val has 2 images, fewer than the 10 that are needed"),
        (np.zeros([0, 3]), [], "val has 0 images, fewer than the 10 that are needed"),
        (np.tile(np.eye(3), (5, 1)), [1] * 15, "val has images of one class only"),
        (np.full([15, 3], np.nan), [0, 1, 2] * 5, "the model's outputs on val are not finite"),
        (np.full([15, 3], np.inf), [0, 1, 2] * 5, "the model's outputs on val are not finite"),
    ],
)
def test_where_no_temperature_can_be_fitted_it_is_1(logits, labels, problem):
    """With the reason."""
    found = fit_temperature(np.asarray(logits, np.float32), np.array(labels, np.int64))
    assert (found.value, found.problem) == (1.0, problem)


@pytest.mark.parametrize(
    "logits", [np.zeros([20, 3]), np.eye(3)[np.arange(20) % 3] * 1e30, -np.eye(3)[np.arange(20) % 3] * 1e4]
)
def test_extreme_logits_give_a_temperature_within_the_bounds(logits):
    """Of equal logits, any temperature is as good: it stays 1."""
    value = fit_temperature(logits.astype(np.float32), np.arange(20) % 3).value
    assert 0.05 <= value <= 20
    assert logits.any() or value == 1


def test_probabilities_are_scaled_through_their_logarithms():
    """To float32's precision; the inverse temperature undoes it, and 0 stays near 0."""
    logits, _ = draw(50, 3.0)
    scaled = scale_probabilities(softmax(logits), 2.5)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5), rtol=1e-5)
    np.testing.assert_allclose(scale_probabilities(scaled, 1 / 2.5), softmax(logits), atol=1e-6)
    assert scale_probabilities(np.float32([[1, 0]]), 2.0)[0, 1] < 1e-18
    assert np.isnan(scale_probabilities(np.float32([[np.nan, 1]]), 2.0)).all()
    assert np.isfinite(take_logarithms(np.float32([[0, 1]]))).all()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_a_coverage_needs_as_many_images_as_the_finite_sample_correction_asks(coverage):
    """ceil((n + 1) * coverage) must not exceed n: 19 images for 0.95."""
    needed = count_needed_images(coverage)
    assert needed == math.ceil(round(coverage / (1 - coverage), 9))
    scores = np.linspace(0.1, 1, needed).astype(np.float32)
    assert find_threshold(scores, coverage)[0] == pytest.approx(0.1, abs=2e-5)
    assert find_threshold(scores[1:], coverage) == (
        None,
        f"val has {needed - 1} images, and a coverage of {coverage:g} needs {needed}",
    )


def test_the_threshold_accepts_the_coverage_of_exchangeable_images():
    """In the mean over draws of val, as split-conformal prediction promises: not less, and at most 1 / (n + 1) more."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        threshold, _ = find_threshold(rng.random(59).astype(np.float32), 0.95)
        shares.append(1 - threshold)
    assert 0.948 < np.mean(shares) < 0.95 + 1 / 60 + 0.002


def test_the_rank_is_that_of_numpys_quantile():
    """Of method "higher", at ceil((n + 1) * coverage) / n."""
    scores = np.random.default_rng(1).random(100).astype(np.float32)
    level = math.ceil(101 * 0.9) / 100
    expected = -np.quantile(-scores, level, method="inverted_cdf")
    assert find_threshold(scores, 0.9)[0] == pytest.approx(expected, abs=2e-5)


def test_the_calibration_has_both_and_the_threshold_is_of_scaled_probabilities():
    """With the coverage off, there is no threshold and no reason."""
    logits, labels = draw(200, 3.0)
    probabilities = softmax(logits).astype(np.float32)
    found = calibrate(Scored(None, probabilities, labels), 0.9)
    scaled = scale_probabilities(probabilities, found.temperature).max(axis=1)
    assert 2 < found.temperature < 4
    assert (scaled >= found.threshold).sum() == math.ceil(201 * 0.9)
    off = calibrate(Scored(None, probabilities, labels), None)
    assert (off.threshold, off.coverage, off.threshold_problem) == (None, None, "")


def test_a_threshold_of_distances_is_that_of_the_scores_that_are_given():
    """Squared distances of hundreds; the margin for rounding grows with them."""
    logits, labels = draw(200, 3.0)
    scores = -np.random.default_rng(2).permutation(np.arange(200)).astype(np.float32) - 100
    found = calibrate(Scored(None, softmax(logits).astype(np.float32), labels), 0.9, scores)
    assert found.score == "distance"
    assert -280.3 < found.threshold < -280
    unknown = calibrate(Scored(None, softmax(logits).astype(np.float32), labels), 0.9, scores * np.nan)
    assert (unknown.threshold, unknown.threshold_problem) == (None, "the scores of val are not finite")


def test_outputs_that_are_not_finite_leave_the_model_as_it_is():
    """Temperature 1, all images accepted, and a reason for both."""
    found = calibrate(Scored(None, np.full([20, 2], np.nan, np.float32), np.arange(20) % 2), 0.9)
    assert (found.temperature, found.threshold) == (1.0, None)
    assert found.temperature_problem == found.threshold_problem == "the model's outputs on val are not finite"


@pytest.mark.parametrize(("factor", "shift", "end"), [(1.0, 1, "20"), (0.01, 0, "0.05")])
def test_the_log_names_a_temperature_at_an_end_of_the_search(factor, shift, end, caplog):
    """Predictions that are no better than chance, and ones that are nearly even and right."""
    logits, labels = draw(200, factor)
    calibrate(Scored(None, softmax(logits).astype(np.float32), (labels + shift) % 5), None)
    assert f"the temperature is {end}, an end of the search from 0.05 to 20." in caplog.text
