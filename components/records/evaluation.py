"""Summary of an evaluation: metrics, thresholds, and the comparison with the live version."""

from typing import Any, Literal

from serving.storage.documents import Document, Fields

_SIGNIFICANT = 0.05


class Baseline(Fields):
    """Comparison of the candidate with another version on the same test images.

    Attributes:
        version: number of the other version.
        compared: whether the models were compared.
        classes: classes of both models, in the candidate's order.
        images: number of test images of these classes; 0 if the models were not compared.
        accuracy: accuracy of the other version, 0 to 1; None if the models were not compared.
        candidate_accuracy: accuracy of the candidate on the same images, 0 to 1; None if the models were not compared.
        problem: reason why the models were not compared, as a clause that follows the name of the version; "" if they
            share too few classes.
        lost: number of images that the other version alone predicts right; None if unknown.
        won: number of images that the candidate alone predicts right; None if unknown.
        p_value: one-sided p-value of McNemar's exact test for a candidate that is worse; None if unknown.
    """

    version: int
    compared: bool
    classes: list[str]
    images: int
    accuracy: float | None
    candidate_accuracy: float | None
    problem: str = ""
    lost: int | None = None
    won: int | None = None
    p_value: float | None = None


class LogisticRegression(Fields):
    """Accuracy of a multinomial logistic regression on the embeddings, beside that of the model.

    Attributes:
        strength: scikit-learn's C, chosen on `val`.
        train_images, val_images, test_images: number of images; of a large split, a sample of at most 10,000.
        val_accuracy, test_accuracy: accuracy of the logistic regression, 0 to 1.
        model_accuracy: accuracy of the model on the same test images, 0 to 1.
        p_value: probability of a difference of this size by chance, by McNemar's exact two-sided test on the test
            images.
    """

    strength: float
    train_images: int
    val_images: int
    val_accuracy: float
    test_images: int
    test_accuracy: float
    model_accuracy: float
    p_value: float

    @property
    def beats_model(self) -> bool:
        """True if the logistic regression is better on `test` than the model, and not by chance (5 %)."""
        return self.test_accuracy > self.model_accuracy and self.p_value < _SIGNIFICANT


class Figure(Fields):
    """Figure of the test images, with its 95 % confidence interval."""

    value: float
    interval: tuple[float, float]


class CalibrationFigures(Fields):
    """Figures of the probabilities with the temperature, and before.

    Attributes:
        temperature: number that the logits are divided by; 1 if no temperature was fitted. 0.05 and 20 are the ends of
            the search.
        problem: reason why no temperature was fitted, as a clause; "" otherwise.
        images: number of test images; of more than 100,000, a sample.
        log_loss_before, log_loss: mean negative logarithm of the probability of the true class.
        ece_before, ece: expected calibration error, 0 to 1: mean difference between the probability of the most
            probable class and the share of right predictions, over ten bins of equal width.
    """

    temperature: float
    problem: str
    images: int
    log_loss_before: Figure
    log_loss: Figure
    ece_before: Figure
    ece: Figure


class Acceptance(Fields):
    """Number of test images that the model accepts as images of a known class.

    Attributes:
        coverage: share of the images of known classes to accept, below 1.
        score: score of an image: "probability" of the most probable class, or "distance" of its embedding to the
            classes.
        threshold: least score of an accepted image; None to accept all images.
        problem: reason why there is no threshold, as a clause; "" otherwise.
        images: number of test images.
        accepted: number of accepted test images.
        interval: 95 % confidence interval of the share after Wilson.
        p_value: probability of so few accepted images by chance, in `val` and `test`; None without a threshold.
    """

    coverage: float
    score: Literal["probability", "distance"] = "probability"
    threshold: float | None
    problem: str
    images: int
    accepted: int
    interval: tuple[float, float]
    p_value: float | None = None


class ClassMetrics(Fields):
    """Metrics of one class; a metric without a value is None."""

    images: int
    precision: float | None
    recall: float | None
    auc: float | None
    calibration: float | None


class EvaluationSummary(Document):
    """Metrics of the candidate on the test images, and the Evaluator's verdict.

    Attributes:
        images: number of test images.
        accuracy: share of correct predictions, 0 to 1.
        accuracy_interval: 95 % confidence interval after Wilson.
        min_accuracy: least accuracy that was needed, 0 to 1. Without a bound of the user's, the least one whose 95 %
            interval lies above the share of the largest class.
        min_accuracy_reason: origin of that bound.
        blessed: whether the Evaluator lets the candidate be pushed.
        failures: reasons against a push; empty if the candidate is blessed.
        baseline: comparison with the live version; None if no version is live.
        best: comparison with the kept version of the highest accuracy; None if that is the live one.
        classes: metrics by class, in the order of the outputs.
        logistic_regression: logistic regression on the embeddings; None if the images have no embeddings, because they
            are augmented.
        calibration: log loss and calibration error with the temperature and before; None if a probability is not a
            number, and of Graft 0.2.0.
        acceptance: number of accepted images; None without a `coverage`, and of Graft 0.2.0.
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
    best: Baseline | None = None
    classes: dict[str, ClassMetrics]
    logistic_regression: LogisticRegression | None = None
    calibration: CalibrationFigures | None = None
    acceptance: Acceptance | None = None
    confusion_matrix: list[list[int]]

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Adds an empty `min_accuracy_reason`, which 0.2.0 did not write."""
        return {"min_accuracy_reason": "", **value}
