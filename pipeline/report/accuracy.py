"""Collects the contents of the page's parts on accuracy, confusion, reliability and mistakes."""

import dataclasses
import itertools
from typing import Any

from components.evaluator.answers import Answers, Share, measure_majority, measure_slices, select
from components.evaluator.calibration import BINS
from components.evaluator.slices import slice_answers
from components.proportions import wilson_interval
from components.records.evaluation import EvaluationSummary
from pipeline.report import figures
from pipeline.report.advice import describe_better_baseline
from pipeline.report.calibration import describe_calibration
from pipeline.report.charts import draw_confidence, draw_matrix, draw_reliability
from pipeline.report.comparisons import describe_comparisons
from pipeline.report.explanations import explain_images
from pipeline.report.sources import RunFiles
from pipeline.report.thumbnails import Thumbnails
from schema.features import VAL

_MOST_CELLS = 20  # classes up to which the confusion matrix is a table; above, it is a picture
_MOST_CONFUSIONS = 10
_MOST_MISTAKES = 24  # pictures of mistakes, each with a heat map
_MOST_UNCERTAIN = 12  # pictures of uncertain images
_SHOWN_CLASSES = 3  # number of probabilities beside a picture


@dataclasses.dataclass(frozen=True)
class Bar:
    """Row of the accuracy table.

    Attributes:
        name: name of the model.
        value: accuracy on test images, 0 to 1.
        images: number of test images.
        interval: 95 % interval of the accuracy, or None.
    """

    name: str
    value: float
    images: int
    interval: tuple[float, float] | None = None


def describe_accuracy(files: RunFiles) -> dict[str, Any] | None:
    """Returns accuracies with intervals, overall, by class and by slice; None if no model was evaluated."""
    evaluation = files.manifest.evaluation if files.manifest else None
    if evaluation is None:
        return None
    answers = files.answers
    majority = measure_majority(evaluation)
    bars = [
        Bar("This run", evaluation.accuracy, evaluation.images, evaluation.accuracy_interval),
        *_describe_logistic_regression(evaluation),
        *_describe_baseline(evaluation),
    ]
    if majority:
        name, share = majority
        bars.append(Bar(f"Always “{name}”", share.value or 0.0, share.images))
    return {
        "evaluation": evaluation,
        "bars": bars,
        "comparisons": describe_comparisons(evaluation),
        "classes": _describe_classes(evaluation, answers),
        "slicings": slice_answers(answers, files.ingest.spans, files.properties) if answers and files.ingest else [],
        "val": _measure(select(files.predictions, VAL)) if files.predictions else None,
        "note": describe_better_baseline(evaluation),
        "calibration": describe_calibration(evaluation),
        "has_baseline": bool(answers and answers.baseline_known.any()),
    }


def _measure(answers: Answers) -> Share:
    return Share(int(answers.right.sum()), len(answers.path))


def _describe_logistic_regression(evaluation: EvaluationSummary) -> list[Bar]:
    fitted = evaluation.logistic_regression
    if not fitted:
        return []
    return [_make_bar("Logistic regression on the embeddings", fitted.test_accuracy, fitted.test_images)]


def _describe_baseline(evaluation: EvaluationSummary) -> list[Bar]:
    """Returns the accuracy of the live version and of the best kept one.

    Returns the candidate's on the same images between them if they are not all test images.
    """
    baseline = evaluation.baseline
    if not baseline or baseline.accuracy is None or not baseline.images:
        return []
    bars = [_make_bar(f"Live version {baseline.version}", baseline.accuracy, baseline.images)]
    if baseline.candidate_accuracy is not None and baseline.images != evaluation.images:
        name = "This run, on the classes of both"
        bars.append(_make_bar(name, baseline.candidate_accuracy, baseline.images))
    best = evaluation.best
    if best and best.accuracy is not None:
        bars.append(_make_bar(f"Best kept version {best.version}", best.accuracy, best.images))
    return bars


def _make_bar(name: str, value: float, images: int) -> Bar:
    return Bar(name, value, images, wilson_interval(round(value * images), images))


def _describe_classes(evaluation: EvaluationSummary, answers: Answers | None) -> list[dict[str, Any]]:
    """Returns a row for each class, with the recall of the candidate and of the live version."""
    slices = measure_slices(answers, answers.label) if answers else {}
    rows = []
    for index, (name, metrics) in enumerate(evaluation.classes.items()):
        row = evaluation.confusion_matrix[index]
        _, before = slices.get(name, (None, None))
        rows.append({"name": name, "metrics": metrics, "recall": Share(row[index], sum(row)), "before": before})
    return rows


def describe_confusion(files: RunFiles) -> dict[str, Any] | None:
    """Returns the confusion matrix, as a table or as a picture; None if no model was evaluated."""
    evaluation = files.manifest.evaluation if files.manifest else None
    if evaluation is None:
        return None
    classes, matrix = list(evaluation.classes), evaluation.confusion_matrix
    table = len(classes) <= _MOST_CELLS
    return {
        "classes": classes,
        "rows": [(name, row, sum(row)) for name, row in zip(classes, matrix, strict=True)] if table else [],
        "picture": None if table else draw_matrix(matrix),
        "pairs": figures.find_confusions(matrix, classes, _MOST_CONFUSIONS),
        "totals": [sum(column) for column in zip(*matrix, strict=True)],
    }


def describe_reliability(files: RunFiles) -> dict[str, Any] | None:
    """Returns the reliability diagram; None if the predictions of each image are missing."""
    answers = files.answers
    if answers is None or not len(answers.path):
        return None
    counts, mean, share, error = figures.measure_reliability(answers)
    edges = itertools.pairwise(bin / BINS for bin in range(BINS + 1))
    return {
        "charts": [draw_reliability(counts, mean, share), draw_confidence(counts)],
        "bins": list(zip(edges, counts.tolist(), mean.tolist(), share.tolist(), strict=True)),
        "error": error,
        "confidence": float(answers.confidence.mean()),
        "accuracy": float(answers.right.mean()),
    }


def describe_pictures(files: RunFiles, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Returns mistakes and uncertain images with pictures; None if the predictions of each image are missing.

    The mistakes have heat maps besides; `unexplained` is the reason for no heat maps, or "", and `coarse` a sentence on
    heat maps of few cells, or "".
    """
    answers = files.answers
    if answers is None:
        return None
    mistakes = _show(answers, figures.find_confident_mistakes(answers, _MOST_MISTAKES), thumbnails)
    heat_maps, problem = explain_images(files, [shown["path"] for shown in mistakes if shown["picture"].uri])
    for shown in mistakes:
        if heat_map := heat_maps.get(shown["path"]):
            shown["overlay"] = thumbnails.make_overlay(shown["path"], shown["digest"], heat_map)
    return {
        "images": len(answers.path),
        "wrong": int((~answers.right).sum()),
        "mistakes": mistakes,
        "explained": bool(heat_maps),
        "unexplained": problem,
        "coarse": next((heat_map.coarse for heat_map in heat_maps.values()), ""),
        "uncertain": _show(answers, figures.find_least_certain(answers, _MOST_UNCERTAIN), thumbnails),
    }


def _show(answers: Answers, positions: list[int], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    return [
        {
            "path": answers.path[position],
            "digest": answers.digest[position],
            "truth": answers.label[position],
            "answer": answers.classes[answers.answer[position]],
            "right": bool(answers.right[position]),
            "probabilities": _list_probabilities(answers, position),
            "picture": thumbnails.make(answers.path[position], answers.digest[position]),
            "overlay": None,
        }
        for position in positions
    ]


def _list_probabilities(answers: Answers, position: int) -> list[tuple[str, float]]:
    """Returns the most probable classes, and always the true class, with the most probable first."""
    row = answers.candidate[position]
    highest = sorted(range(len(row)), key=lambda index: -row[index])
    shown = highest[:_SHOWN_CLASSES]
    truth = int(answers.truth[position])
    if truth >= 0 and truth not in shown:
        shown.append(truth)
    return [(answers.classes[index], float(row[index])) for index in shown]
