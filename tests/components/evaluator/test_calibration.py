"""Log loss, calibration error and acceptance on the test images, with a calibration and without."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import log_loss

from components.evaluator import calibration
from components.evaluator.calibration import measure_acceptance, measure_calibration
from components.evaluator.verdict import judge
from components.probabilities import count_conformal, scale_probabilities
from components.proportions import conformal_p
from components.records.ingest import Majority
from components.records.predictions import Predictions, no_baseline
from serving.export.calibration import Calibration

CLASSES = ["cat", "dog", "owl"]


def make_predictions(count=300, seed=0):
    """Overconfident predictions: the labels have the probabilities of half the logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, 3))
    weights = np.exp(logits / 2)
    given = weights / weights.sum(axis=1, keepdims=True)
    labels = (given.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return predict(given, [CLASSES[label] for label in labels])


def predict(candidate, labels, accepted=None):
    """All images are accepted, or the first `accepted` ones."""
    count = len(labels)
    paths = [f"{row}.jpg" for row in range(count)]
    candidate = np.asarray(candidate, np.float32)
    answers = np.arange(count) < (count if accepted is None else accepted)
    names = ["test"] * count, paths, paths, labels
    return Predictions(CLASSES, None, None, *names, candidate, no_baseline(count), answers)


def measure_ece_by_hand(probabilities, labels):
    error = 0.0
    for bin in range(10):
        confidence = probabilities.max(axis=1)
        rows = (confidence >= bin / 10) & ((confidence < (bin + 1) / 10) | (bin == 9))
        if rows.any():
            right = probabilities[rows].argmax(axis=1) == labels[rows]
            error += rows.mean() * abs(right.mean() - confidence[rows].mean())
    return error


def test_the_figures_are_those_of_scikit_learn_and_by_hand():
    """With the temperature and before; the intervals hold the figures, and are the same each time."""
    predictions, found = make_predictions(), Calibration(temperature=2.0)
    labels = np.array([CLASSES.index(name) for name in predictions.label])
    figures = measure_calibration(predictions, found)
    plain = scale_probabilities(predictions.candidate, 0.5)
    for probabilities, loss, error in (
        (predictions.candidate, figures.log_loss, figures.ece),
        (plain, figures.log_loss_before, figures.ece_before),
    ):
        given = probabilities.astype(float)
        expected = log_loss(labels, given / given.sum(axis=1, keepdims=True), labels=[0, 1, 2])
        assert loss.value == pytest.approx(expected, rel=1e-6)
        assert error.value == pytest.approx(measure_ece_by_hand(given, labels), abs=1e-6)
        assert loss.interval[0] < loss.value < loss.interval[1]
    assert figures.log_loss.value < figures.log_loss_before.value
    assert figures.ece.value < figures.ece_before.value
    assert measure_calibration(predictions, found) == figures


def test_the_interval_of_the_log_loss_is_as_wide_as_that_of_a_mean():
    """Four standard errors, within the noise of a thousand resamples."""
    predictions = make_predictions(2000)
    low, high = measure_calibration(predictions, Calibration()).log_loss.interval
    labels = [CLASSES.index(name) for name in predictions.label]
    losses = -np.log(predictions.candidate[np.arange(2000), labels])
    assert high - low == pytest.approx(2 * 1.96 * losses.std() / np.sqrt(2000), rel=0.1)


def test_a_large_test_split_is_sampled(monkeypatch):
    """So that a resample stays fast."""
    monkeypatch.setattr(calibration, "_MOST_IMAGES", 50)
    assert measure_calibration(make_predictions(), Calibration()).images == 50


def test_predictions_that_are_no_numbers_have_no_figures():
    """The model does not accept them, where there is a threshold: tests/serving/export/test_signatures.py."""
    predictions = predict([[np.nan] * 3] * 4, ["cat"] * 4)
    assert measure_calibration(predictions, Calibration()) is None


def test_a_class_of_probability_0_has_a_finite_loss():
    """scikit-learn's log_loss clips such a probability as well."""
    figures = measure_calibration(predict([[1, 0, 0]] * 4, ["dog"] * 4), Calibration(temperature=2.0))
    assert np.isfinite([figures.log_loss.value, figures.log_loss_before.value]).all()


@pytest.mark.parametrize(("accepted", "blessed"), [(100, True), (90, True), (89, False), (0, False)])
def test_a_model_that_breaks_its_coverage_beyond_chance_is_refused(accepted, blessed):
    """90 of 100 has p = 0.028 in the exact test, 89 has 0.012."""
    predictions = predict([[0.9, 0.1, 0.0]] * 100, ["cat"] * 100, accepted)
    found = Calibration(coverage=0.95, score="distance", threshold=-8.0, images=10_000)
    verdict = judge(predictions, Majority("cat", 0.5, "test"), calibration=found)
    assert (verdict.acceptance.accepted, verdict.acceptance.score) == (accepted, "distance")
    assert [f.partition(" (")[0] for f in verdict.failures] == (
        [] if blessed else [f"it accepts {accepted / 100:.3f} of the test images"]
    )


def test_without_a_threshold_all_images_are_accepted_and_without_a_coverage_none_are_counted():
    """The reason stands in the record."""
    predictions = make_predictions(30)
    found = measure_acceptance(predictions, Calibration(coverage=0.95, threshold_problem="val has 3 images"))
    assert (found.accepted, found.problem) == (30, "val has 3 images")
    assert measure_acceptance(predictions, Calibration()) is None
    unknown = dataclasses.replace(predictions, accepted=None)
    assert measure_acceptance(unknown, Calibration(coverage=0.95, threshold=0.5, images=30)) is None


def test_a_threshold_from_a_small_val_is_chance_itself():
    """900 of 1,000 accepted: with a threshold from 19 images that happens, from 10,000 it does not."""
    predictions = predict([[0.9, 0.1, 0.0]] * 1000, ["cat"] * 1000, 900)
    failures = [
        judge(
            predictions, Majority("cat", 0.5, "test"), calibration=Calibration(coverage=0.95, threshold=0.8, images=n)
        ).failures
        for n in (19, 10_000)
    ]
    assert [len(found) for found in failures] == [0, 1]


@pytest.mark.parametrize(("fitted", "images"), [(19, 200), (200, 200), (1000, 100)])
def test_of_models_that_keep_their_coverage_few_are_refused(fitted, images):
    """Simulated with exchangeable scores: at most the 2.5 % of the exact test, within the noise of 2,000 draws."""
    rng = np.random.default_rng(0)
    rank = count_conformal(fitted, 0.95)
    thresholds = np.sort(rng.random((2000, fitted)), axis=1)[:, fitted - rank]
    accepted = (rng.random((2000, images)) >= thresholds[:, np.newaxis]).sum(axis=1)
    p_values = {count: conformal_p(int(count), images, rank, fitted) for count in np.unique(accepted)}
    assert np.mean([p_values[count] <= 0.025 for count in accepted]) < 0.035
