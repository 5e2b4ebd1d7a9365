"""TFMA's configuration: metrics and slices. No thresholds: the verdict is `verdict.judge`."""

import json

from tensorflow_model_analysis.proto import config_pb2

from schema import features
from serving.export import signatures

# TFMA's default of 10,000 thresholds for each class and slice takes longer than the forward pass.
_AUC_THRESHOLDS = 1000
CANDIDATE, BASELINE = "candidate", "baseline"  # names of the models, where there are two
PREDICTION_KEY, ACCEPTED_KEY = "probabilities", "accepted"


def make_eval_config(
    num_classes: int, has_baseline: bool, signature: str = signatures.EXAMPLES
) -> config_pb2.EvalConfig:
    """Builds TFMA's configuration: metrics overall and on one slice per class.

    The metrics are accuracy and confusion matrix; and AUC and calibration (mean probability over frequency) of each
    class against the rest.

    Args:
        num_classes: number of classes, at least 2.
        has_baseline: whether the candidate is compared with a baseline.
        signature: signature of the models to evaluate.
    """
    models = [_model_spec(CANDIDATE, signature)]
    if has_baseline:
        models.append(_model_spec(BASELINE, signature, is_baseline=True))
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=[features.LABEL])],
        metrics_specs=[_overall_metrics(), _class_metrics(num_classes)],
    )


def _overall_metrics() -> config_pb2.MetricsSpec:
    names = ("ExampleCount", "SparseCategoricalAccuracy", "MultiClassConfusionMatrixPlot")
    return config_pb2.MetricsSpec(metrics=[config_pb2.MetricConfig(class_name=name) for name in names])


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
