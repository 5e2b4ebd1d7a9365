"""Writes the summary of a run in Markdown: outcome, accuracy, live version, the worst classes."""

import re
import string

from components.proportions import wilson_interval
from components.records.evaluation import Baseline, EvaluationSummary
from kubeflow.run_page.metrics import MOST_CLASSES
from kubeflow.run_page.roc import Roc
from pipeline.report.outcome import Outcome
from schema.text import printable

_WORST = 5  # classes with the lowest recall
_LONGEST = 200  # characters of a name or a reason
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def render_summary(evaluation: EvaluationSummary, outcome: Outcome, curve: Roc | None) -> str:
    """Renders the summary.

    Args:
        evaluation: summary of the Evaluator.
        outcome: outcome of the run.
        curve: ROC curve of the test images; None if there is none.
    Returns:
        Paragraphs and lists alone, without tables, links and HTML.
    """
    low, high = evaluation.accuracy_interval
    lines = [
        f"# {escape(outcome.headline)}",
        *(f"- {escape(reason)}" for reason in outcome.reasons),
        "## Accuracy",
        f"- {evaluation.accuracy:.3f} on {evaluation.images:,} test images; 95 % interval {low:.3f} to {high:.3f}; "
        f"{evaluation.min_accuracy:.3f} is needed",
        *_describe_other("the live version", evaluation.baseline),
        *_describe_other("the best kept version", evaluation.best),
        "## Lowest recall",
        *_list_worst(evaluation),
        "## Charts on this page",
        *_describe_charts(evaluation, curve),
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Escapes a text for Markdown: one line, with a backslash before each punctuation character of ASCII.

    CommonMark 0.31, 2.4: any of these characters may be escaped. The page reads Markdown with markdown-to-jsx, whose
    `textEscaped` rule does the same.

    >>> escape("<b>_1_")
    '\\<b\\>\\_1\\_'
    """
    shown = printable(text)
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "…"
    return _PUNCTUATION.sub(r"\\\g<0>", shown)


def _describe_other(name: str, other: Baseline | None) -> list[str]:
    if other is None:
        return []
    if other.accuracy is None or other.candidate_accuracy is None:
        problem = escape(other.problem or "which shares too few classes with this model")
        return [f"- not compared with {name} {other.version}, {problem}"]
    test = "McNemar's exact one-sided test for a model that is worse"
    chance = f"; p = {other.p_value:.2g} in {test}" if other.p_value is not None else ""
    return [
        f"- {name} {other.version} has {other.accuracy:.3f}, and this model {other.candidate_accuracy:.3f} on the same "
        f"{other.images:,} images{chance}"
    ]


def _list_worst(evaluation: EvaluationSummary) -> list[str]:
    matrix = evaluation.confusion_matrix
    found = [(matrix[i][i], sum(matrix[i]), name) for i, name in enumerate(evaluation.classes) if sum(matrix[i])]
    worst = sorted(found, key=lambda row: (row[0] / row[1], -row[1]))[:_WORST]
    return [
        "- {}: {:.3f}, {:,} of {:,} test images; 95 % interval {:.3f} to {:.3f}".format(
            escape(name), right / images, right, images, *wilson_interval(right, images)
        )
        for right, images, name in worst
    ]


def _describe_charts(evaluation: EvaluationSummary, curve: Roc | None) -> list[str]:
    names = list(evaluation.classes)
    lines = ["- Confusion matrix: a row is a true class, a column a predicted one."]
    if len(names) > MOST_CLASSES:
        lines.append(
            f"- It has the {MOST_CLASSES} classes with the most mistakes; the images of {len(names) - MOST_CLASSES} "
            "classes, and those taken for them, are left out."
        )
    if curve is None:
        lines.append("- There is no ROC curve: predictions are missing, too many or not finite, or lack a class.")
    elif len(names) == 2:
        lines.append(f"- ROC curve: {escape(names[1])} against {escape(names[0])}.")
    else:
        lines.append("- ROC curve: each class against the rest, micro-averaged over all pairs of image and class.")
    return lines
