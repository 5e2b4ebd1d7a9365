"""TFMA's configuration: thresholds, metrics and slices."""

import pytest
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator import summary
from components.evaluator.eval_config import make_eval_config


def find_threshold(config):
    [threshold] = (t.threshold for spec in config.metrics_specs for m in spec.metrics for t in m.per_slice_thresholds)
    return threshold


def test_without_a_baseline_there_is_an_absolute_threshold_alone():
    """TFMA blesses nothing if a change threshold has nothing to compare with."""
    config = make_eval_config(3, 0.7, 0.02, has_baseline=False)
    threshold = find_threshold(config)
    assert threshold.value_threshold.lower_bound.value == pytest.approx(0.7)
    assert not threshold.HasField("change_threshold")
    assert [spec.is_baseline for spec in config.model_specs] == [False]


def test_with_a_baseline_the_accuracy_may_drop_by_so_much():
    """An absolute change of at least -0.02, on top of the absolute threshold."""
    config = make_eval_config(3, 0.7, 0.02, has_baseline=True)
    threshold = find_threshold(config)
    assert threshold.value_threshold.lower_bound.value == pytest.approx(0.7)
    assert threshold.change_threshold.absolute.value == pytest.approx(-0.02)
    assert threshold.change_threshold.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
    assert {spec.name: spec.is_baseline for spec in config.model_specs} == {"candidate": False, "baseline": True}


def test_the_threshold_is_on_the_accuracy():
    """The metric that the summary reads, over all images: a class with few must not block a good model."""
    config = make_eval_config(2, 0.5, 0.0, has_baseline=True)
    (metric,) = (m for spec in config.metrics_specs for m in spec.metrics if m.per_slice_thresholds)
    assert not any(m.HasField("threshold") for spec in config.metrics_specs for m in spec.metrics)
    assert [list(t.slicing_specs) for t in metric.per_slice_thresholds] == [[config_pb2.SlicingSpec()]]
    assert metric.class_name == "SparseCategoricalAccuracy"
    assert summary.ACCURACY in metric.config


def test_every_class_is_a_slice_and_has_figures_of_its_own():
    """Overall, and one slice per label; AUC and calibration of each class against the rest."""
    config = make_eval_config(3, 0.5, 0.0, has_baseline=False)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["label"]]
    (binarized,) = (spec for spec in config.metrics_specs if spec.HasField("binarize"))
    assert list(binarized.binarize.class_ids.values) == [0, 1, 2]
    assert {metric.class_name for metric in binarized.metrics} == {"AUC", "Calibration"}
