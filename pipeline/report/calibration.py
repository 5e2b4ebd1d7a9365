"""Describes the calibration of a model on `test`, and the test images that it accepts, in sentences."""

from components.probabilities import describe_bound
from components.records.evaluation import Acceptance, CalibrationFigures, EvaluationSummary, Figure


def describe_calibration(evaluation: EvaluationSummary) -> list[str]:
    """Returns up to three sentences without a full stop; none for an evaluation of Graft 0.2.0."""
    figures, acceptance = evaluation.calibration, evaluation.acceptance
    return [*(_describe_figures(figures) if figures else ()), *(_describe_acceptance(acceptance) if acceptance else ())]


def _describe_figures(figures: CalibrationFigures) -> list[str]:
    if figures.problem:
        return [
            f"probabilities as the network gives them, because {figures.problem}: log loss {_show(figures.log_loss)}, "
            f"calibration error {_show(figures.ece)}"
        ]
    return [
        f"temperature {figures.temperature:.3g} from val{describe_bound(figures.temperature)}: "
        f"log loss {_show(figures.log_loss)}, before {_show(figures.log_loss_before)}",
        f"calibration error {_show(figures.ece)}, before {_show(figures.ece_before)}{_judge(figures)}",
    ]


def _judge(figures: CalibrationFigures) -> str:
    worse = figures.ece.value > figures.ece_before.value
    return ", so worse: the temperature is fitted to the log loss of val" if worse else ""


def _show(figure: Figure) -> str:
    low, high = figure.interval
    return f"{figure.value:.3f} ({low:.3f} to {high:.3f})"


def _describe_acceptance(found: Acceptance) -> list[str]:
    if found.problem:
        return [f"all images are accepted, because {found.problem}"]
    low, high = found.interval
    return [
        f"accepts {found.accepted} of {found.images} test images: {found.accepted / found.images:.3f} "
        f"({low:.3f} to {high:.3f}) where coverage is {found.coverage:g}"
    ]
