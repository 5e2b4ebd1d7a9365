"""Figures of the page, compared with other libraries."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from components.evaluator.answers import Share, list_days, measure_slices, select
from components.evaluator.calibration import BINS
from components.records.predictions import Predictions
from pipeline.report import figures

CLASSES = ["cat", "dog", "owl"]


def make_answers(images=200, baseline=True, seed=0):
    numbers = np.random.default_rng(seed)
    candidate, before = numbers.dirichlet(np.ones(3) * 0.5, (2, images)).astype(np.float32)
    label = [CLASSES[i] for i in numbers.integers(0, 3, images)]
    paths = [f"2026-11-2{i % 3}/{name}/{i}.jpg" for i, name in enumerate(label)]
    before[::2] = np.nan
    return select(
        Predictions(
            classes=CLASSES,
            baseline_version=3 if baseline else None,
            baseline_classes=CLASSES[::-1] if baseline else None,
            split=["test"] * images,
            digest=paths,
            path=paths,
            label=label,
            candidate=candidate,
            baseline=before if baseline else np.zeros((images, 0), np.float32),
        )
    )


def test_reliability_is_that_of_scikit_learn():
    answers = make_answers()
    share, mean = calibration_curve(answers.right, answers.confidence, n_bins=BINS)
    counts, our_mean, our_share, error = figures.measure_reliability(answers)
    filled = counts > 0
    np.testing.assert_allclose(our_mean[filled], mean, rtol=1e-6)
    np.testing.assert_allclose(our_share[filled], share)
    assert error == pytest.approx(float((np.abs(mean - share) * counts[filled]).sum() / counts.sum()))


def test_confident_mistakes_are_wrong_and_the_surest_comes_first():
    answers = make_answers()
    found = figures.find_confident_mistakes(answers, 5)
    assert not answers.right[found].any()
    assert answers.confidence[found].tolist() == sorted(answers.confidence[~answers.right], reverse=True)[:5]


def test_least_certain_images_have_the_smallest_margin():
    answers = make_answers()
    highest = np.sort(answers.candidate, axis=1)
    margins = sorted((highest[:, 2] - highest[:, 1]).tolist())[:4]
    assert answers.margin[figures.find_least_certain(answers, 4)].tolist() == margins


def test_the_live_version_is_judged_by_its_own_class_list():
    """Images without its prediction do not count."""
    answers = make_answers()
    known = answers.baseline_known
    assert known.tolist() == [False, True] * 100
    names = np.array(CLASSES[::-1])[answers.baseline[known].argmax(axis=1)]
    assert answers.baseline_right[known].tolist() == (names == np.array(answers.label)[known]).tolist()
    assert not answers.baseline_right[~known].any()
    assert not make_answers(baseline=False).baseline_known.any()


def test_slices_count_both_models_by_day():
    answers = make_answers()
    days = list_days(answers.path, ["2026-11-20", "2026-11-21"])
    measured = measure_slices(answers, days)
    assert list(measured) == ["2026-11-20", "2026-11-21"]
    now, before = measured["2026-11-20"]
    assert (now.images, before.images) == (67, 33)
    assert now.right == answers.right[::3].sum()


def test_no_image_makes_no_figure_and_no_error():
    answers = make_answers(images=0)
    assert figures.measure_reliability(answers)[3] == 0
    assert figures.find_confident_mistakes(answers, 3) == figures.find_least_certain(answers, 3) == []
    assert Share(0, 0).interval is None
