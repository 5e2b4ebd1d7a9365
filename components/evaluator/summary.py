"""Summary of TFMA's metrics and of the verdict as one JSON document, `summary.json`, for people and for a version."""

import tensorflow_model_analysis as tfma

from components.evaluator.eval_config import CANDIDATE
from components.evaluator.verdict import Verdict
from components.proportions import wilson_interval
from components.records.evaluation import CalibrationFigures, ClassMetrics, EvaluationSummary, LogisticRegression


def write_summary(
    uri: str,
    classes: list[str],
    verdict: Verdict,
    logistic_regression: LogisticRegression | None,
    calibration: CalibrationFigures | None,
    has_baseline: bool,
) -> None:
    """Writes `summary.json` beside TFMA's own files.

    Args:
        uri: folder of the ModelEvaluation artifact.
        classes: class names, in the order of the outputs.
        verdict: verdict on the candidate.
        logistic_regression: logistic regression on the embeddings, or None.
        calibration: figures of the probabilities, or None.
        has_baseline: whether TFMA has evaluated the live version, too.
    """
    candidate = tfma.load_eval_result(uri, model_name=CANDIDATE if has_baseline else None)
    matrix = count_confusions(candidate, len(classes))
    EvaluationSummary(
        images=verdict.images,
        accuracy=verdict.right / verdict.images,
        accuracy_interval=wilson_interval(verdict.right, verdict.images),
        min_accuracy=verdict.needed,
        min_accuracy_reason=verdict.needed_reason,
        blessed=not verdict.failures,
        failures=verdict.failures,
        baseline=verdict.baseline,
        best=verdict.best,
        classes={name: _class_metrics(candidate, matrix, index) for index, name in enumerate(classes)},
        logistic_regression=logistic_regression,
        calibration=calibration,
        acceptance=verdict.acceptance,
        confusion_matrix=matrix,
    ).write(uri)


def count_confusions(result: tfma.EvalResult, num_classes: int) -> list[list[int]]:
    """Counts test images: a row per actual class, a column per most probable class."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    plots = dict(result.plots)[()]
    cells = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]
    for cell in cells:
        row, column = cell.get("actualClassId", 0), cell.get("predictedClassId", 0)
        matrix[row][column] = round(cell.get("numWeightedExamples", 0))
    return matrix


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
