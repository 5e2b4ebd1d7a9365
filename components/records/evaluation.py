"""Summary of an evaluation: metrics, thresholds, and the comparison with the live version."""

from typing import Any, Literal

from serving.storage.documents import Document, Fields


class Baseline(Fields):
    """Comparison of the candidate with the live version on the same test images.

    Attributes:
        version: number of the live version.
        compared: whether anything was compared.
        classes: classes that both know, in the candidate's order.
        images: number of test images of these classes; 0 where nothing was compared.
        accuracy: the live version's, 0 to 1; None where nothing was compared.
        candidate_accuracy: the candidate's on the same images.
        problem: why nothing was compared, in words that follow the name of the version; "" where the reason is that
            the two share too few classes.
    """

    version: int
    compared: bool
    classes: list[str]
    images: int
    accuracy: float | None
    candidate_accuracy: float | None
    problem: str = ""


class ClassMetrics(Fields):
    """Metrics of one class; None where a metric has no value."""

    images: int
    precision: float | None
    recall: float | None
    auc: float | None
    calibration: float | None


class EvaluationSummary(Document):
    """Metrics of the candidate on the test images, and the Evaluator's verdict.

    Attributes:
        images: number of test images.
        accuracy: share of right answers, 0 to 1.
        accuracy_interval: 95 % confidence interval after Wilson.
        min_accuracy: bound that was applied.
        min_accuracy_reason: origin of that bound.
        blessed: whether the candidate may be pushed, for all that the Evaluator knows.
        failures: why not.
        baseline: comparison with the live version; None if no version is live.
        classes: metrics by class, in the order of the outputs.
        confusion_matrix: counts of test images: a row per actual class, a column per most probable class.
    """

    FILE = "summary.json"

    format: Literal[1] = 1
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    min_accuracy: float
    min_accuracy_reason: str
    blessed: bool
    failures: list[str]
    baseline: Baseline | None
    classes: dict[str, ClassMetrics]
    confusion_matrix: list[list[int]]

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Leaves the origin of the bound open: 0.2.0 did not write it."""
        return {"min_accuracy_reason": "", **value}
