"""Describes the comparisons of the model with the live version and with the best kept one, for page and terminal."""

from components.records.evaluation import Baseline, EvaluationSummary


def describe_comparisons(evaluation: EvaluationSummary) -> list[str]:
    """Returns a sentence for each version that the model was to be compared with."""
    if evaluation.baseline is None:
        return ["No version was live to compare with."]
    sentences = [_describe(evaluation.baseline, "the live version", evaluation)]
    if evaluation.best:
        sentences.append(_describe(evaluation.best, "the best kept version", evaluation))
    return sentences


def _describe(other: Baseline, name: str, evaluation: EvaluationSummary) -> str:
    version = f"{name}, {other.version}"
    if not other.compared:
        return f"Not compared with {version}, {other.problem or 'which has too few of its classes'}."
    common = "" if len(other.classes) == len(evaluation.classes) else f" of the {len(other.classes)} classes of both"
    if other.p_value is None:  # Graft 0.2.0
        return f"Compared with {version}, on {other.images:,} test images{common}."
    return (
        f"Compared with {version}, on {other.images:,} test images{common}: {other.lost:,} are right by that version "
        f"alone and {other.won:,} by this model alone{describe_chance(other)}."
    )


def describe_chance(other: Baseline) -> str:
    """Says, after a semicolon, which probability the p-value is; "" if that version alone is right on no image.

    `./graft compare` shows another p-value for the same images: that of the two-sided test.
    """
    if not other.lost or other.won is None:
        return ""
    return (
        f"; if both were equally good, that version would have {other.lost:,} or more of these "
        f"{other.lost + other.won:,} with a probability of {other.p_value:.2g} by McNemar's exact "
        "one-sided test"
    )
