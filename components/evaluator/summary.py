"""Summary of TFMA's results as one JSON document, `summary.json`, for people and for the record of a version."""

import tensorflow_model_analysis as tfma
from scipy.stats import binomtest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.evaluator.comparison import describe_compared, measure_drop
from components.evaluator.threshold import Threshold
from components.records.evaluation import Baseline, ClassMetrics, EvaluationSummary, LogisticRegression

ACCURACY = "sparse_categorical_accuracy"
_ROUNDING = 1e-9  # 0.8 - 0.7 is a little more than 0.1


def write_summary(
    uri: str,
    classes: list[str],
    threshold: Threshold,
    live: int | None,
    comparison: Baseline | None,
    refusals: list[str],
    logistic_regression: LogisticRegression | None,
) -> None:
    """Writes `summary.json` beside TFMA's own files.

    Args:
        uri: folder of the ModelEvaluation artifact.
        classes: class names, in the order of the outputs.
        threshold: bound of the accuracy that was applied, and its origin.
        live: number of the live version, or None.
        comparison: comparison with a live version of other classes; None if TFMA compared the models.
        refusals: reasons against a blessing besides TFMA's.
        logistic_regression: logistic regression on the embeddings, or None.
    """
    compared_by_tfma = live is not None and comparison is None
    candidate = tfma.load_eval_result(uri, model_name="candidate" if compared_by_tfma else None)
    validation = tfma.load_validation_result(uri)
    matrix = count_confusions(candidate, len(classes))
    images = sum(map(sum, matrix))
    accuracy = _read_accuracy(candidate)
    if live is not None and comparison is None:
        before = _read_accuracy(tfma.load_eval_result(uri, model_name="baseline"))
        comparison = describe_compared(live, classes, images, before, accuracy)
    EvaluationSummary(
        images=images,
        accuracy=accuracy,
        accuracy_interval=find_accuracy_interval(sum(matrix[i][i] for i in range(len(classes))), images),
        min_accuracy=threshold.value,
        min_accuracy_reason=threshold.reason,
        blessed=validation.validation_ok and not refusals,
        failures=_describe_failures(validation, threshold.reason) + refusals,
        baseline=comparison,
        classes={name: _class_metrics(candidate, matrix, index) for index, name in enumerate(classes)},
        logistic_regression=logistic_regression,
        confusion_matrix=matrix,
    ).write(uri)


def describe_drop(baseline: Baseline, max_accuracy_drop: float) -> list[str]:
    """Describes a drop below a live version of other classes that exceeds `max_accuracy_drop`; else returns []."""
    drop = measure_drop(baseline)
    if drop <= max_accuracy_drop + _ROUNDING:
        return []
    return [
        f"test accuracy on the {len(baseline.classes)} classes that both know is {drop:.3f} below "
        f"the live version's; max_accuracy_drop allows {max_accuracy_drop:.3f}"
    ]


def find_accuracy_interval(correct: int, images: int) -> tuple[float, float]:
    """Computes the 95 % confidence interval of an accuracy after Wilson (1927), which holds for few images, too."""
    interval = binomtest(correct, images).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def count_confusions(result: tfma.EvalResult, num_classes: int) -> list[list[int]]:
    """Counts test images: a row per actual class, a column per most probable class."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    plots = dict(result.plots)[()]
    cells = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]
    for cell in cells:
        row, column = cell.get("actualClassId", 0), cell.get("predictedClassId", 0)
        matrix[row][column] = round(cell.get("numWeightedExamples", 0))
    return matrix


def _read_accuracy(result: tfma.EvalResult) -> float:
    return float(dict(result.slicing_metrics)[()][""][""][ACCURACY]["doubleValue"])


def _class_metrics(result: tfma.EvalResult, matrix: list[list[int]], index: int) -> ClassMetrics:
    hits, actual = matrix[index][index], sum(matrix[index])
    predicted = sum(row[index] for row in matrix)
    metrics = _read_metrics(result, f"classId:{index}")
    return ClassMetrics(
        images=actual,
        precision=hits / predicted if predicted else None,
        recall=hits / actual if actual else None,
        auc=metrics["auc"],
        calibration=metrics["calibration"],
    )


def _read_metrics(result: tfma.EvalResult, sub_key: str) -> dict[str, float | None]:
    """Returns the values of one class over all images by metric name; NaN becomes None."""
    metrics = dict(result.slicing_metrics)[()][""][sub_key]
    values = {name: value.get("doubleValue") for name, value in metrics.items()}
    return {name: value if isinstance(value, float) and value == value else None for name, value in values.items()}


def _describe_failures(validation: validation_result_pb2.ValidationResult, reason: str) -> list[str]:
    """Describes each threshold that the candidate missed; `reason` is the origin of the lower bound."""
    failures = []
    for validated in validation.metric_validations_per_slice:
        for failure in validated.failures:
            failures.append(_describe(failure, reason))
    return failures


def _describe(failure: validation_result_pb2.ValidationFailure, reason: str) -> str:
    value = failure.metric_value.double_value.value
    if failure.metric_threshold.HasField("value_threshold"):
        bound = failure.metric_threshold.value_threshold.lower_bound.value
        return f"test accuracy {value:.3f} is below the {bound:.3f} that is needed ({reason})"
    drop = -failure.metric_threshold.change_threshold.absolute.value
    return f"test accuracy is {-value:.3f} below the live version's; max_accuracy_drop allows {drop:.3f}"
