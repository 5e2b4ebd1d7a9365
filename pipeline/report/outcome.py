"""Describes the outcome of a run in one line, its reasons, and the next steps."""

import dataclasses
import re
from typing import Literal

from components.evaluator.answers import measure_majority
from components.records.evaluation import EvaluationSummary
from components.records.push import SUPERSEDED
from pipeline.check.left_out import suggest_conversion
from pipeline.report.advice import advise
from pipeline.report.sources import RunFiles
from pipeline.workspace.manifest import RunManifest, is_interruption
from pipeline.workspace.pushed_models import read_evaluation
from schema.text import list_some, quote
from serving.releases import versions

State = Literal["good", "refused", "ended", "failed", "unknown"]
WORKSPACE = "WORKSPACE"  # replaces the absolute path of the workspace
BLANK = "To be filled in"  # of a model card, see `components.pusher.card`


@dataclasses.dataclass(frozen=True)
class Step:
    """Next step.

    Attributes:
        text: sentence.
        command: command line, or "".
    """

    text: str
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        state: kind of the outcome.
        word: outcome in one or two words.
        headline: outcome in one line.
        reasons: reasons, one sentence each.
        steps: next steps, the most useful first.
    """

    state: State
    word: str
    headline: str
    reasons: list[str]
    steps: list[Step]


def find_outcome(files: RunFiles) -> Outcome:
    """Derives the outcome from the manifest."""
    manifest = files.manifest
    if files.pushed:
        return _describe_cut_off(files, files.pushed)
    if manifest is None:
        return _describe_unknown(files)
    if manifest.failed is not None:
        return _describe_failure(files, manifest.failed)
    if manifest.evaluation is None:
        return _describe_early_end(manifest)
    if manifest.is_refused:
        return _describe_refusal(files, manifest, manifest.evaluation)
    return _describe_push(files, manifest, manifest.evaluation)


def _describe_unknown(files: RunFiles) -> Outcome:
    why = next((problem for problem in files.problems if problem.startswith("manifest")), "")
    return Outcome(
        "unknown",
        "Unknown",
        "This run has not ended, or its process was killed.",
        [f"{why}."] if why else ["It has written no manifest.json."],
        [_look_at_log(files)],
    )


def _describe_failure(files: RunFiles, failed: str) -> Outcome:
    first, *others = failed.splitlines() or [""]
    first, _, way = first.partition(". ")  # the first sentence of an error is the problem, the rest is the way out
    if is_interruption(first):
        steps = [Step("Start the run again: finished components are not repeated."), _look_at_log(files)]
        return Outcome("failed", "Interrupted", f"The run was interrupted{_at(files)}.", others, steps)
    advice = suggest_conversion(files.left_out, files.images or "DATA")
    steps = [Step(way)] if way else []
    steps += [Step(f"{advice[0]}:", advice[1])] if advice else []
    steps.append(Step("Start the run again after that: finished components are not repeated."))
    return Outcome(
        "failed", "Failed", f"The run stopped{_at(files)}: {first.rstrip('.')}.", others, [*steps, _look_at_log(files)]
    )


def _at(files: RunFiles) -> str:
    """Returns the name of the component that failed, after " in "; "" if unknown."""
    stopped = [execution.name for execution in files.executions if execution.state in ("failed", "stopped")]
    return f" in {stopped[-1]}" if stopped else ""


def _look_at_log(files: RunFiles) -> Step:
    return Step("Read the messages of the libraries in the log:", f"grep {quote(files.run_id)} {_out(files)}/graft.log")


def _describe_early_end(manifest: RunManifest) -> Outcome:
    reason = manifest.decision.reason if manifest.decision else "the run trained nothing"
    reason = reason.removeprefix("nothing new: ")
    stays = _stays(manifest)
    refused = manifest.decision is not None and manifest.decision.refused
    steps = [Step("Nothing needs to be done. To train all the same, repeat the command with --force.")]
    if refused:
        steps.insert(
            0, Step("A model of the same images and settings was refused before: the page of that run has the reasons.")
        )
    return Outcome("ended", "Ended early", f"Nothing was trained: {reason}.", [stays], steps)


def _describe_refusal(files: RunFiles, manifest: RunManifest, evaluation: EvaluationSummary) -> Outcome:
    reasons = [*evaluation.failures, *(manifest.serving.reasons if manifest.serving else [])]
    steps = []
    if evaluation.blessed and manifest.serving and not manifest.serving.blessed:
        steps.append(Step("The model failed the test in a model server: see Serving below for time and memory."))
    if rejected := manifest.held_back:
        reasons.append(
            f"version {rejected.version} became live during the run, and this model was not compared with it"
            if rejected.state == SUPERSEDED
            else f"it is the same model as version {rejected.version}, which is {_STATES[rejected.state]}"
        )
        steps.append(
            Step("Run again, to compare with the version that is live now.")
            if rejected.state == SUPERSEDED
            else Step("Make that version live:", f"./graft releases promote {rejected.version}{_where(files)}")
        )
    elif files.history and files.config:
        steps += [Step(sentence) for sentence in advise(evaluation, files.history, files.config)]
    steps.append(
        Step("Look at the mistakes below. To predict with this model all the same:", _predict(files, by_run=True))
    )
    [first, *others] = reasons or ["the reason is missing"]
    return Outcome(
        "refused",
        "Not pushed",
        f"Not pushed: {first}.",
        [*(f"Besides, {other}." for other in others), _stays(manifest)],
        steps,
    )


_STATES = {"canary": "the canary", "withdrawn": "withdrawn"}


def _describe_push(files: RunFiles, manifest: RunManifest, evaluation: EvaluationSummary) -> Outcome:
    version = manifest.pushed_version
    quality = _describe_quality(evaluation)
    removed = manifest.removed_versions or []
    reasons = warn_of_majority(evaluation)
    reasons += [f"Old versions that the push removed: {list_some([str(v) for v in removed], 10)}."] if removed else []
    ask = Step("Predict with the model:", _predict(files))
    if manifest.canary:
        promote = Step("Make the canary live after its trial:", f"./graft releases promote{_where(files)}")
        reasons.append(_stays(manifest))
        headline = f"Pushed as version {version}, the canary: {quality}."
        return Outcome("good", "Canary", headline, reasons, [ask, *_fill_in_card(files, version), promote])
    back = Step("Go back to the version before, if this one fails:", f"./graft releases rollback{_where(files)}")
    steps = [ask, *_fill_in_card(files, version), *([back] if files.live_number else [])]
    if not manifest.pushed_now:
        headline = f"Nothing new: the same model is version {version}, with {quality}."
        return Outcome("good", "Live already", headline, reasons, steps)
    return Outcome("good", "Pushed", f"Pushed as version {version}, which is live: {quality}.", reasons, steps)


def _describe_quality(evaluation: EvaluationSummary) -> str:
    return f"accuracy {evaluation.accuracy:.3f} on {evaluation.images:,} test images"


def _describe_cut_off(files: RunFiles, version: versions.Version) -> Outcome:
    """Describes a run that pushed, and ended before it had written its result: the version is there all the same."""
    failed = files.manifest.failed if files.manifest else None
    if failed is None:
        how = "its process was killed"
    elif is_interruption(failed):
        how = "the run was interrupted"
    else:
        how = f"the run stopped: {(failed.splitlines() or [''])[0].rstrip('.')}"
    evaluation = read_evaluation(version)
    quality = [f"{_describe_quality(evaluation).capitalize()}."] if evaluation else []
    number, canary = version.record.pushed_version or version.number, version.record.canary
    return Outcome(
        "good",
        "Canary" if canary else "Pushed",
        f"Pushed as version {number}{', the canary' if canary else ''}; after that, {how}.",
        [*quality, "The rest is missing from this page: the run had not written it yet."],
        [
            Step("Predict with the model:", _predict(files)),
            Step("See which version is live now:", f"./graft releases{_where(files)}"),
            _look_at_log(files),
        ],
    )


def list_blanks(card: str) -> list[str]:
    """Returns what a person must fill in on a model card, in the order of the card."""
    return re.findall(rf"\*\*{BLANK}\*\*: (.*)\.$", card, re.MULTILINE)


def _fill_in_card(files: RunFiles, version: int | None) -> list[Step]:
    blanks = len(list_blanks(files.card))
    if not blanks:
        return []
    folder = f"{_out(files)}/serving/{files.model_name}/{version}"
    return [Step(f"Fill in the {blanks} open lines of the model card:", f"{folder}/{versions.CARD}")]


def warn_of_majority(evaluation: EvaluationSummary) -> list[str]:
    """Warns of a model whose accuracy may be no better than the share of the largest class.

    `min_accuracy` may allow such a model.
    """
    majority = measure_majority(evaluation)
    if majority is None or evaluation.accuracy_interval[0] > (majority[1].value or 0):
        return []
    name, share = majority
    told = f"Be careful: {share.value:.3f} of the test images are of the class “{name}”."
    if evaluation.accuracy_interval[1] < (share.value or 0):
        return [f"{told} The constant answer of that class is better than the model."]
    return [
        f"{told} The model may be no better than the constant answer of that class: the 95 % interval of its accuracy "
        "includes that share."
    ]


def _stays(manifest: RunManifest) -> str:
    return f"Version {manifest.live_version} stays live." if manifest.live_version else "No version is live yet."


def _out(files: RunFiles) -> str:
    """Returns the workspace as the user typed it; a placeholder for an absolute path."""
    out = str((files.manifest.config.model_extra or {}).get("out", WORKSPACE)) if files.manifest else WORKSPACE
    return WORKSPACE if out.startswith(("/", "~")) else quote(out)


def _out_option(files: RunFiles) -> str:
    return "" if _out(files) == "graft-out" else f" --out {_out(files)}"


def _where(files: RunFiles) -> str:
    """Returns workspace and model as options of `./graft releases`."""
    return f"{_out_option(files)} --model {quote(files.model_name)}"


def _predict(files: RunFiles, by_run: bool = False) -> str:
    if by_run:
        return f"./graft predict IMAGE --out {_out(files)} --run {quote(files.run_id)}"
    return f"./graft predict IMAGE{_out_option(files)}"
