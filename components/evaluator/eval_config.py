"""TFMA's configuration: metrics, slices and thresholds."""

import json

from tensorflow_model_analysis.proto import config_pb2

from components.evaluator import summary
from schema import features
from serving.export import signatures

# TFMA's default of 10,000 thresholds for each class and slice takes longer than the forward pass.
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
    """Builds TFMA's configuration: metrics overall and on one slice per class.

    The metrics are accuracy and confusion matrix; and AUC and calibration (mean probability over frequency) of each
    class against the rest.

    Args:
        num_classes: number of classes, at least 2.
        min_accuracy: lower bound of the accuracy, 0 to 1.
        max_accuracy_drop: largest drop of the accuracy below the baseline that is accepted.
        has_baseline: whether the candidate is compared with a baseline.
        signature: signature of the models to evaluate.
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
    """Builds the lower bound of the accuracy, and the bound of its drop below the baseline unless that is None."""
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
    """Builds the overall metrics: the accuracy with its threshold, and the confusion matrix."""
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config=json.dumps({"name": summary.ACCURACY}),
        # For the overall slice only: a plain `threshold` would apply to the slice of each class, too.
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
    """Builds the metrics of each class against the rest: AUC and calibration."""
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
