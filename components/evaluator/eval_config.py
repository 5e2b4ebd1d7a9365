"""What TFMA computes, and what a candidate must reach."""

import json

from tensorflow_model_analysis.proto import config_pb2

from components.evaluator import summary
from schema import features
from serving.export import signatures

# TFMA's own default of 10,000 thresholds a class and slice costs more than the forward pass.
_AUC_THRESHOLDS = 1000
CANDIDATE, BASELINE = "candidate", "baseline"  # names of the models, where there are two
PREDICTION_KEY = "probabilities"


def make_eval_config(
    num_classes: int,
    min_accuracy: float,
    max_accuracy_drop: float,
    has_baseline: bool,
    signature: str = signatures.EXAMPLES,
) -> config_pb2.EvalConfig:
    """What TFMA computes: overall and a slice per class.

    Args:
        num_classes: at least 2.
        min_accuracy: lower bound, 0 to 1.
        max_accuracy_drop: how far below the baseline is still good enough.
        has_baseline: whether there is one to compare with.
        signature: which of the models' to ask.
    Returns:
        Accuracy, confusion matrix; and for each class against the rest precision and recall (of the most
        probable class), AUC and calibration (mean probability over frequency).
    """
    threshold = _make_threshold(min_accuracy, max_accuracy_drop if has_baseline else None)
    models = [_model_spec(CANDIDATE, signature)]
    if has_baseline:
        models.append(_model_spec(BASELINE, signature, is_baseline=True))
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=[features.LABEL])],
        metrics_specs=[_overall_metrics(threshold), _class_metrics(num_classes)],
    )


def _make_threshold(min_accuracy: float, max_accuracy_drop: float | None) -> config_pb2.MetricThreshold:
    """Bounds the accuracy from below, and its drop below the baseline unless that is None."""
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": min_accuracy})
    )
    if max_accuracy_drop is not None:
        threshold.change_threshold.CopyFrom(
            config_pb2.GenericChangeThreshold(
                direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -max_accuracy_drop}
            )
        )
    return threshold


def _overall_metrics(threshold: config_pb2.MetricThreshold) -> config_pb2.MetricsSpec:
    """Asks for the accuracy, which has a threshold, and the confusion matrix."""
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config=json.dumps({"name": summary.ACCURACY}),
        # Overall only: a plain `threshold` would hold for the slice of each class, too.
        per_slice_thresholds=[
            config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
        ],
    )
    return config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(class_name="ExampleCount"),
            accuracy,
            config_pb2.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
        ]
    )


def _class_metrics(num_classes: int) -> config_pb2.MetricsSpec:
    """Asks for AUC and calibration of each class against the rest."""
    return config_pb2.MetricsSpec(
        binarize=config_pb2.BinarizationOptions(class_ids={"values": list(range(num_classes))}),
        metrics=[
            config_pb2.MetricConfig(class_name="AUC", config=json.dumps({"num_thresholds": _AUC_THRESHOLDS})),
            config_pb2.MetricConfig(class_name="Calibration"),
        ],
    )


def _model_spec(name: str, signature: str, is_baseline: bool = False) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        is_baseline=is_baseline,
        signature_name=signature,
        preprocessing_function_names=[signatures.TRANSFORM_FEATURES],
        label_key=features.LABEL_INDEX,
        prediction_key=PREDICTION_KEY,
    )
