"""Says what came of a run in one line, why, and what to do next."""

import dataclasses
from typing import Literal

from components.records.evaluation import EvaluationSummary
from components.records.push import OVERTAKEN
from pipeline.check.left_out import suggest_conversion
from pipeline.report.advice import advise
from pipeline.report.figures import measure_majority
from pipeline.report.sources import RunFiles
from pipeline.workspace.manifest import RunManifest
from schema.text import list_some, quote

State = Literal["good", "refused", "ended", "failed", "unknown"]
WORKSPACE = "WORKSPACE"  # stands for an absolute path, which the page does not tell
_INTERRUPTED = ("KeyboardInterrupt", "SystemExit", "StoppedError")


@dataclasses.dataclass(frozen=True)
class Step:
    """Something to do: a sentence, and the command for it, or ""."""

    text: str
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        state: kind of the outcome.
        word: the same in a word or two.
        headline: the outcome in one line.
        reasons: sentences that say why.
        steps: what to do next, the most useful first.
    """

    state: State
    word: str
    headline: str
    reasons: list[str]
    steps: list[Step]


def find_outcome(files: RunFiles) -> Outcome:
    """Finds the outcome in the manifest."""
    manifest = files.manifest
    if manifest is None:
        return _describe_unknown(files)
    if manifest.failed is not None:
        return _describe_failure(files, manifest.failed)
    if manifest.evaluation is None:
        return _describe_early_end(files, manifest)
    if not manifest.evaluation.blessed or (manifest.serving and not manifest.serving.blessed) or manifest.held_back:
        return _describe_refusal(files, manifest, manifest.evaluation)
    return _describe_push(files, manifest, manifest.evaluation)


def _describe_unknown(files: RunFiles) -> Outcome:
    why = next((problem for problem in files.problems if problem.startswith("manifest")), "")
    return Outcome(
        "unknown",
        "Unknown",
        "This run has not ended, or its process was killed.",
        [f"{why}."] if why else ["It wrote no manifest.json."],
        [_look_at_log(files)],
    )


def _describe_failure(files: RunFiles, failed: str) -> Outcome:
    first, *others = failed.splitlines() or [""]
    first, _, way = first.partition(". ")  # an error says what is wrong, and then what to do
    if first.startswith(_INTERRUPTED):
        steps = [Step("Start the run again: what its components have finished is reused."), _look_at_log(files)]
        return Outcome("failed", "Interrupted", f"The run was interrupted{_at(files)}.", others, steps)
    advice = suggest_conversion(files.left_out, files.images or "DATA")
    steps = [Step(way)] if way else []
    steps += [Step(f"{advice[0]}:", advice[1])] if advice else []
    steps.append(Step("Start the run again when that is mended: what its components have finished is reused."))
    return Outcome(
        "failed", "Failed", f"The run stopped{_at(files)}: {first.rstrip('.')}.", others, [*steps, _look_at_log(files)]
    )


def _at(files: RunFiles) -> str:
    """Names the component that was at work."""
    stopped = [execution.name for execution in files.executions if execution.state in ("failed", "stopped")]
    return f" in {stopped[-1]}" if stopped else ""


def _look_at_log(files: RunFiles) -> Step:
    return Step("The log says what the libraries said:", f"grep {quote(files.run_id)} {_out(files)}/graft.log")


def _describe_early_end(files: RunFiles, manifest: RunManifest) -> Outcome:
    reason = manifest.decision.reason if manifest.decision else "the run trained nothing"
    stays = _stays(manifest)
    refused = manifest.decision is not None and manifest.decision.refused
    steps = [Step("Nothing needs to be done. To train all the same, repeat the command with --force.")]
    if refused:
        steps.insert(0, Step("A model of the same images and settings was refused before: its own page says why."))
    return Outcome("ended", "Ended early", f"Nothing was trained: {reason}.", [stays], steps)


def _describe_refusal(files: RunFiles, manifest: RunManifest, evaluation: EvaluationSummary) -> Outcome:
    reasons = [*evaluation.failures, *(manifest.serving.reasons if manifest.serving else [])]
    steps = []
    if evaluation.blessed and manifest.serving and not manifest.serving.blessed:
        steps.append(Step("The model answers, but not as a server must: see Serving below for time and memory."))
    if held := manifest.held_back:
        reasons.append(
            f"version {held.version} became live during the run, and this model was not compared with it"
            if held.state == OVERTAKEN
            else f"it is the same model as version {held.version}, which is {_HELD[held.state]}"
        )
        steps.append(
            Step("Run again, to compare with the version that is live now.")
            if held.state == OVERTAKEN
            else Step("Make that version live:", f"./graft releases promote {held.version}{_where(files)}")
        )
    elif files.history and files.config:
        steps += [Step(sentence) for sentence in advise(evaluation, files.history, files.config)]
    steps.append(Step("Look at the mistakes below. To ask this model all the same:", _predict(files, by_run=True)))
    [first, *others] = reasons or ["the reason was not kept"]
    return Outcome("refused", "Not pushed", f"Not pushed: {first}.", [*others, _stays(manifest)], steps)


_HELD = {"canary": "the canary", "withdrawn": "withdrawn"}


def _describe_push(files: RunFiles, manifest: RunManifest, evaluation: EvaluationSummary) -> Outcome:
    version = manifest.pushed_version
    quality = f"accuracy {evaluation.accuracy:.3f} on {evaluation.images:,} test images"
    removed = manifest.removed_versions or []
    reasons = _look_at_majority(evaluation)
    reasons += [f"Old versions that the push removed: {list_some([str(v) for v in removed], 10)}."] if removed else []
    ask = Step("Ask the model:", _predict(files))
    if manifest.canary:
        promote = Step("Make the canary live, when it has proved itself:", f"./graft releases promote{_where(files)}")
        reasons.append(_stays(manifest))
        headline = f"Pushed as version {version}, the canary: {quality}."
        return Outcome("good", "Canary", headline, reasons, [ask, promote])
    back = Step("Go back to the version before, if something is wrong:", f"./graft releases rollback{_where(files)}")
    steps = [ask, back] if files.live_number else [ask]
    if not manifest.pushed_now:
        headline = f"Nothing new: the same model is version {version}, with {quality}."
        return Outcome("good", "Live", headline, reasons, steps)
    return Outcome("good", "Pushed", f"Pushed as version {version}, which is live: {quality}.", reasons, steps)


def _look_at_majority(evaluation: EvaluationSummary) -> list[str]:
    """Warns of a model that may be no better than naming the largest class always."""
    majority = measure_majority(evaluation)
    if majority is None or evaluation.accuracy_interval[0] > (majority[1].value or 0):
        return []
    name, share = majority
    return [
        f"Be careful: to say “{name}” always would be right in {share.value:.3f} of the test images, which the 95 % "
        "interval of the model's accuracy does not exclude."
    ]


def _stays(manifest: RunManifest) -> str:
    return f"Version {manifest.live_version} stays live." if manifest.live_version else "No version is live yet."


def _out(files: RunFiles) -> str:
    """Returns the workspace as it was typed; a placeholder for an absolute path."""
    out = str((files.manifest.config.model_extra or {}).get("out", WORKSPACE)) if files.manifest else WORKSPACE
    return WORKSPACE if out.startswith(("/", "~")) else quote(out)


def _out_option(files: RunFiles) -> str:
    return "" if _out(files) == "graft-out" else f" --out {_out(files)}"


def _where(files: RunFiles) -> str:
    """Returns the options of `./graft releases`."""
    return f"{_out_option(files)} --model {quote(files.model_name)}"


def _predict(files: RunFiles, by_run: bool = False) -> str:
    if by_run:
        return f"./graft predict IMAGE --out {_out(files)} --run {quote(files.run_id)}"
    return f"./graft predict IMAGE{_out_option(files)}"
