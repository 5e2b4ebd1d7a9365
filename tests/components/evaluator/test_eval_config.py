"""TFMA's configuration: models, metrics and slices."""

from components.evaluator.eval_config import make_eval_config


def test_tfma_gets_no_threshold():
    """The verdict is decided in one place, and not there."""
    config = make_eval_config(3, has_baseline=True)
    metrics = [metric for spec in config.metrics_specs for metric in spec.metrics]
    assert not any(m.HasField("threshold") or m.per_slice_thresholds or m.cross_slice_thresholds for m in metrics)
    assert {spec.name: spec.is_baseline for spec in config.model_specs} == {"candidate": False, "baseline": True}


def test_every_class_is_a_slice_and_has_figures_of_its_own():
    """Overall, and one slice per label; AUC and calibration of each class against the rest."""
    config = make_eval_config(3, has_baseline=False)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["label"]]
    (binarized,) = (spec for spec in config.metrics_specs if spec.HasField("binarize"))
    assert list(binarized.binarize.class_ids.values) == [0, 1, 2]
    assert {metric.class_name for metric in binarized.metrics} == {"AUC", "Calibration"}
