"""Makes the numbers, the confusion matrix and the curve that Kubeflow's page shows.

Forms and checks: `validateConfusionMatrix` and `validateConfidenceMetrics` in frontend/src/components/viewers/
MetricsVisualizations.tsx of github.com/kubeflow/pipelines, read at 02a5c70a.
"""

import math
from typing import Any

import numpy as np

from components.records.evaluation import EvaluationSummary
from kubeflow.run_page.roc import Roc
from schema.text import printable

MOST_CLASSES = 50  # each cell is a box of the page, and a number of the database


def list_numbers(evaluation: EvaluationSummary) -> dict[str, float]:
    """Returns the numbers of an evaluation by name; leaves out what is unknown or not finite."""
    low, high = evaluation.accuracy_interval
    live, best, found = evaluation.baseline, evaluation.best, evaluation.calibration
    fitted, acceptance = evaluation.logistic_regression, evaluation.acceptance
    numbers = {
        "accuracy": evaluation.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_needed": evaluation.min_accuracy,
        "test_images": evaluation.images,
        "blessed": int(evaluation.blessed),
        "log_loss": found.log_loss.value if found else None,
        "calibration_error": found.ece.value if found else None,
        "temperature": found.temperature if found else None,
        "live_accuracy": live.accuracy if live else None,
        "live_p_value": live.p_value if live else None,
        "best_accuracy": best.accuracy if best else None,
        "logistic_regression_accuracy": fitted.test_accuracy if fitted else None,
        "accepted_share": acceptance.accepted / acceptance.images if acceptance and acceptance.images else None,
        "lowest_recall": min((c.recall for c in evaluation.classes.values() if c.recall is not None), default=None),
    }
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def choose_classes(evaluation: EvaluationSummary) -> list[int]:
    """Returns the indices of the classes that the matrix shows: all of up to 50, else those with the most mistakes.

    A mistake counts for the true class and for the predicted one.
    """
    matrix = np.array(evaluation.confusion_matrix)
    if len(matrix) <= MOST_CLASSES:
        return list(range(len(matrix)))
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return sorted(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES].tolist())


def make_confusion_matrix(evaluation: EvaluationSummary) -> dict[str, Any]:
    """Makes `confusionMatrix`: a square, with a row per true class and a column per predicted one."""
    names, shown = list(evaluation.classes), choose_classes(evaluation)
    matrix = evaluation.confusion_matrix
    return {
        "annotationSpecs": [{"displayName": printable(names[index])} for index in shown],
        "rows": [{"row": [matrix[row][column] for column in shown]} for row in shown],
    }


def make_confidence_metrics(curve: Roc) -> list[dict[str, float]]:
    """Makes `confidenceMetrics`, a point each."""
    points = zip(curve.thresholds.tolist(), curve.false_positives.tolist(), curve.recall.tolist(), strict=True)
    return [{"confidenceThreshold": t, "falsePositiveRate": f, "recall": r} for t, f, r in points]
