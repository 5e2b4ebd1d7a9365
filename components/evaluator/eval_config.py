"""What TFMA computes, and what a candidate must reach."""

import json

from tensorflow_model_analysis.proto import config_pb2

from components.evaluator import summary
from schema import features
from serving.export import signatures

# TFMA's own default of 10,000 thresholds a class and slice costs more than the forward pass.
_AUC_THRESHOLDS = 1000


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
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": min_accuracy})
    )
    if has_baseline:
        threshold.change_threshold.CopyFrom(
            config_pb2.GenericChangeThreshold(
                direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -max_accuracy_drop}
            )
        )
    overall = config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(class_name="ExampleCount"),
            config_pb2.MetricConfig(
                class_name="SparseCategoricalAccuracy",
                config=json.dumps({"name": summary.ACCURACY}),
                # Overall only: a plain `threshold` would hold for the slice of each class, too.
                per_slice_thresholds=[
                    config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
                ],
            ),
            config_pb2.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
        ]
    )
    per_class = config_pb2.MetricsSpec(
        binarize=config_pb2.BinarizationOptions(class_ids={"values": list(range(num_classes))}),
        metrics=[
            config_pb2.MetricConfig(class_name="AUC", config=json.dumps({"num_thresholds": _AUC_THRESHOLDS})),
            config_pb2.MetricConfig(class_name="Calibration"),
        ],
    )
    models = [_model_spec("candidate", signature)]
    if has_baseline:
        models.append(_model_spec("baseline", signature, is_baseline=True))
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=[features.LABEL])],
        metrics_specs=[overall, per_class],
    )


def _model_spec(name: str, signature: str, is_baseline: bool = False) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        is_baseline=is_baseline,
        signature_name=signature,
        preprocessing_function_names=[signatures.TRANSFORM_FEATURES],
        label_key=features.LABEL_INDEX,
        prediction_key="probabilities",
    )
