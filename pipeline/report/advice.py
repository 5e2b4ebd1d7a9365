"""Advice after a refused model: likely reasons, and what to try, for the page of a run and for the terminal."""

from components.network.weights import RANDOM
from components.records.evaluation import EvaluationSummary
from components.records.history import TrainingHistory
from pipeline.config.config import Config
from schema.text import list_some


def advise(evaluation: EvaluationSummary, history: TrainingHistory, config: Config) -> list[str]:
    """Returns a sentence for each likely reason, the likeliest first; an empty list for an accepted model."""
    if evaluation.blessed:
        return []
    found = [
        _look_at_weights(config),
        _look_at_certainty(evaluation),
        _look_at_live(evaluation),
        _look_at_best(evaluation),
        *_look_at_classes(evaluation),
        *_look_at_epochs(history, config),
    ]
    return [sentence for sentence in found if sentence] or [
        "None of the usual reasons: look at the confused images, and at their labels."
    ]


def describe_better_baseline(evaluation: EvaluationSummary) -> str:
    """Returns a note if the logistic regression beats the model on `test`, and not by chance; else ""."""
    fitted = evaluation.logistic_regression
    if not fitted or not fitted.beats_model:
        return ""
    return (
        f"A logistic regression on the embeddings is right on {fitted.test_accuracy:.3f} of the test images, the model "
        f"on {fitted.model_accuracy:.3f}; that is no chance (p = {fitted.p_value:.2g} in "
        "McNemar's exact two-sided test). Try --head-units auto."
    )


def _look_at_weights(config: Config) -> str:
    if config.weights != RANDOM:
        return ""
    return "The base has random weights, which know no photographs: leave --weights random out."


def _look_at_certainty(evaluation: EvaluationSummary) -> str:
    """Returns advice if the accuracy may be below the threshold by chance, on few images."""
    low, high = evaluation.accuracy_interval
    if not evaluation.accuracy < evaluation.min_accuracy <= high:
        return ""
    return (
        f"Few test images: on {evaluation.images} an accuracy of {low:.3f} to {high:.3f} is likely, which includes "
        f"the {evaluation.min_accuracy:.3f} that is needed. Add images."
    )


def _look_at_live(evaluation: EvaluationSummary) -> str:
    """Returns advice if the live version answers test images right that the candidate does not."""
    live = evaluation.baseline
    if not live or live.lost is None or live.won is None or live.lost <= live.won:
        return ""
    return (
        f"Version {live.version} alone is right on {live.lost} test images: look for them among the mistakes on the "
        "page of the run, and at the images that are new since."
    )


def _look_at_best(evaluation: EvaluationSummary) -> str:
    """Returns advice if the best kept version is better than the candidate beyond chance."""
    best = evaluation.best
    if not best or not any("best kept version" in failure for failure in evaluation.failures):
        return ""
    return (
        f"Version {best.version} has {best.accuracy:.3f} on the same test images: make it live with "
        f"./graft releases promote {best.version}, or remove it with ./graft releases keep, and run with --force."
    )


def _look_at_classes(evaluation: EvaluationSummary) -> list[str]:
    predicted = [sum(column) for column in zip(*evaluation.confusion_matrix, strict=True)]
    never = [name for name, count in zip(evaluation.classes, predicted, strict=True) if not count]
    if not never:
        return []
    return [
        f"The model predicts {list_some(never, 5)} for no test image: add images of "
        f"{'this class' if len(never) == 1 else 'these classes'}, or try --class-weights balanced."
    ]


def _look_at_epochs(history: TrainingHistory, config: Config) -> list[str]:
    """Returns advice for each phase whose loss on val is still falling in the last epoch."""
    options = {
        "head": ("--head-epochs", config.head_epochs),
        "fine-tune": ("--fine-tune-epochs", config.fine_tune_epochs),
    }
    sentences = []
    for phase, (option, asked) in options.items():
        rows = [row for row in history.epochs if row.phase == phase]
        if len(rows) >= 2 and rows[-1].best:
            what = {"head": "the head", "fine-tune": "fine-tuning"}[phase]
            sentences.append(
                f"The loss on val was still falling in the last epoch of {what}: try {option} {2 * asked}."
            )
    return sentences
