"""What a run says at its end."""

import json
import pathlib
from typing import Any

from rich.console import Console
from rich.markup import escape

from components.example_gen import ignored
from components.gates.data_checks import class_totals
from components.network.weights import RANDOM
from components.pusher.component import OVERTAKEN
from pipeline.check.left_out import QUARANTINE, read_quarantine, suggest_conversion
from pipeline.config.config import Config
from pipeline.config.here import choose_workspace
from pipeline.console.printing import print_labelled, print_unbroken
from pipeline.local.advice import advise
from pipeline.local.run import Ended, Outcome, describe
from pipeline.workspace.example_image import find_image
from pipeline.workspace.workspace import Workspace
from schema.text import list_some, printable, quote

Line = tuple[str, str]  # label, and text in rich's markup
_NOTE = "[yellow]Note:[/]"
_UNTRAINED_BASE = "The base has random weights: figures show that the chain works, not what ResNet50 can do."


def render_json(outcome: Outcome | Ended, config: Config) -> str:
    """What came of a run, for another program: what the manifest says, and where things are."""
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    version = outcome.live_version if isinstance(outcome, Ended) else outcome.pushed_version
    model = str(model_dir / str(version)) if version else None
    report = str(workspace.runs / outcome.run_id)
    return json.dumps({"model": model, "report": report, **describe(outcome)}, ensure_ascii=False)


def print_report(outcome: Outcome | Ended, config: Config, console: Console) -> None:
    """Prints what it was trained on, how good it is, whether it was pushed, and what to type next."""
    if isinstance(outcome, Ended):
        _print_ended(outcome, config, console)
        return
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    lines = [
        _data_line(outcome.ingest),
        *_left_out_lines(outcome, config, workspace),
        *((_NOTE, escape(warning)) for warning in outcome.warnings),
        *_embedding_lines(outcome),
        *_training_lines(outcome, config),
        _accuracy_line(outcome.evaluation),
    ]
    if config.weights == RANDOM:
        lines.append((_NOTE, _UNTRAINED_BASE))
    lines += _verdict_lines(outcome, config, str(model_dir))
    if outcome.removed_versions:
        removed = ", ".join(map(str, outcome.removed_versions))
        lines.append(("Removed:", f"version {removed} (keep_versions is {config.keep_versions})"))
    console.print()
    for label, text in lines:
        print_labelled(console, label, text)
    console.print()
    print_unbroken(console, "Report:", f"{workspace.runs / outcome.run_id}/")
    print_labelled(console, "", "has manifest.json, training_curves.png")
    for label, step in zip(("Next:", ""), _next_steps(outcome, config, model_dir), strict=False):
        print_unbroken(console, label, step)


def _print_ended(outcome: Ended, config: Config, console: Console) -> None:
    """Prints why nothing was trained, and what is live."""
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    console.print()
    for label, text in [
        _data_line(outcome.ingest),
        *_left_out_lines(outcome, config, workspace),
        ("Ended:", f"{escape(outcome.decision.reason)}. Nothing was trained."),
    ]:
        print_labelled(console, label, text)
    if outcome.live_version:
        print_unbroken(console, "Live:", f"{model_dir}/{outcome.live_version}")
    console.print()
    print_labelled(console, "Next:", "the same command with --force trains all the same")


def _data_line(ingest: dict[str, Any]) -> Line:
    counts = {split: sum(by_label.values()) for split, by_label in ingest["counts"].items()}
    totals = class_totals(ingest["counts"])
    shown = list_some([f"{name} {count}" for name, count in totals.items()], 10)
    window = f"; date folders {ingest['spans'][0]} to {ingest['spans'][-1]}" if ingest["spans"] else ""
    return "Data:", (
        f"{sum(counts.values())} images of {len(totals)} classes ({escape(printable(shown))}): "
        f"{counts['train']} to train, {counts['val']} to validate, {counts['test']} to test{window}"
    )


def _left_out_lines(outcome: Outcome | Ended, config: Config, workspace: Workspace) -> list[Line]:
    """Says which files of the folder are not in the model: those left out one by one, and those passed over."""
    ingest, lines = outcome.ingest, []
    if ingest["broken"] + ingest["left_out"]:
        quarantine = workspace.runs / outcome.run_id / QUARANTINE
        lines.append(("Left out:", f"{', '.join(_count_left_out(ingest))}; {escape(str(quarantine))} says why"))
        if advice := suggest_conversion(read_quarantine(quarantine), config.data):
            lines.append(("", escape(printable(": ".join(advice)))))
    if phrases := ignored.describe(ingest["ignored"]):
        lines.append(("Ignored:", escape(printable(", ".join(phrases)))))
    return lines


def _count_left_out(ingest: dict[str, Any]) -> list[str]:
    """Counts the files that are not trained on, by reason."""
    contradictions = ingest["contradictions"]
    counts = [
        (ingest["broken"], "broken file", "broken files"),
        (ingest["left_out"] - contradictions, "copy of an image", "copies of images"),
        (contradictions, "file of an image that stands in two classes", "files of images that stand in two classes"),
    ]
    return [f"{count} {one if count == 1 else several}" for count, one, several in counts if count]


def _embedding_lines(outcome: Outcome) -> list[Line]:
    embedding = outcome.embedding
    lines = []
    if embedding["images"] and not any(c.name == "Embedder" and c.cached for c in outcome.components):
        stored = embedding["images"] - embedding["computed"]
        computed = f"{embedding['computed']} {'image' if embedding['computed'] == 1 else 'images'}"
        lines.append(("Embedded:", computed + (f"; {stored} more are stored from earlier runs" if stored else "")))
    if embedding["note"]:
        lines.append((_NOTE, escape(embedding["note"])))
    return lines


def _training_lines(outcome: Outcome, config: Config) -> list[Line]:
    history = outcome.history
    text = f"{_describe_phase(history, 'head', config.head_epochs)} of the head"
    if "fine-tune" in history["scores"]:
        asked = config.fine_tune_epochs
        text += f", {_describe_phase(history, 'fine-tune', asked)} of fine-tuning from {config.fine_tune_from}"
    text += f"; {config.weights} weights, {config.image_size} px"
    [kept] = (row for row in history["epochs"] if row["best"] and row["phase"] == history["kept"])
    what = {"head": "the head alone", "fine-tune": "the fine-tuned model"}[history["kept"]]
    best = f"{what}, of its epoch {kept['epoch']}: {_describe_scores(history)}"
    return [("Training:", text), ("Kept:", best)]


def _describe_phase(history: dict[str, Any], phase: str, asked: int) -> str:
    """Counts the epochs of a phase: "4 of 5 epochs (stopped early)"."""
    trained = sum(row["phase"] == phase for row in history["epochs"])
    epochs = "epoch" if asked == 1 else "epochs"
    return f"{trained} {epochs}" if trained >= asked else f"{trained} of {asked} {epochs} (stopped early)"


def _describe_scores(history: dict[str, Any]) -> str:
    """Says why a phase was kept: the losses on `val`, and the accuracies."""
    kept = history["kept"]
    text = "loss {loss:.3f}, accuracy {accuracy:.3f} on val".format_map(history["scores"][kept])
    for phase, score in history["scores"].items():
        if phase != kept:
            other = {"head": "the head alone", "fine-tune": "fine-tuned"}[phase]
            text += f" ({other} loss {score['loss']:.3f}, accuracy {score['accuracy']:.3f})"
    return text


def _accuracy_line(evaluation: dict[str, Any]) -> Line:
    low, high = evaluation["accuracy_interval"]
    return "Accuracy:", (
        f"[bold]{evaluation['accuracy']:.3f}[/] on {evaluation['images']} test images "
        f"(95 % confidence {low:.3f} to {high:.3f})"
    )


def _verdict_lines(outcome: Outcome, config: Config, model_dir: str) -> list[Line]:
    evaluation = outcome.evaluation
    if not evaluation["blessed"]:
        reasons = escape("; ".join(evaluation["failures"]))
        verdict = f"[red]not good enough[/]: {reasons}. Not pushed; {_stays(outcome)}"
        return [("Verdict:", verdict), *(("Try:", escape(sentence)) for sentence in advise(outcome, config))]
    why = f"{evaluation['accuracy']:.3f} where {evaluation['min_accuracy']:.3f} is needed{_compare(evaluation)}"
    lines = [("Verdict:", f"[green]good enough[/]: {escape(why)}"), *_served_lines(outcome)]
    if outcome.serving and not outcome.serving["blessed"]:
        return lines
    if outcome.held_back:
        return [
            *lines,
            ("Pushed:", f"[yellow]no[/]: {escape('; '.join(outcome.reasons))}. {_stays(outcome).capitalize()}"),
        ]
    state = "Canary:" if outcome.canary else "Pushed:" if outcome.pushed_now else "Live:"
    note = "" if outcome.pushed_now else "  (pushed before; nothing new)"
    if config.canary and outcome.pushed_now and not outcome.canary:
        note = "  (live: there was nothing to try it beside as a canary)"
    return [*lines, (state, f"{escape(f'{model_dir}/{outcome.pushed_version}')}{note}")]


def _stays(outcome: Outcome) -> str:
    """Names the version that stays live where this model is not pushed."""
    return f"version {outcome.live_version} stays live." if outcome.live_version else "no version is live yet."


def _served_lines(outcome: Outcome) -> list[Line]:
    """Says how the model did in a model server."""
    serving = outcome.serving
    if not serving:
        return []
    if not serving["blessed"]:
        reasons = "; ".join(serving["reasons"])
        return [("Served:", f"[red]no[/]: {escape(reasons)}. Not pushed; {_stays(outcome)}")]
    images = f"{serving['images']} {'image' if serving['images'] == 1 else 'images'}"
    figures = f"median {serving['median_ms_grpc']:.3g} ms, {serving['memory_mb']:.0f} MB ({serving['server']})"
    return [("Served:", f"{images} by gRPC and REST, with the answers of the evaluation; {escape(figures)}")]


def _next_steps(outcome: Outcome, config: Config, model_dir: pathlib.Path) -> list[str]:
    """Returns the commands to type: to ask the model, and to make it live where it is not."""
    out, image = quote(config.out), quote(find_image(config.data))
    where = f"--out {out} --model {config.model_name}"
    if outcome.held_back and outcome.held_back["state"] != OVERTAKEN:
        return [f"./graft releases promote {outcome.held_back['version']} {where}"]
    if outcome.canary:
        canary = quote(f"{model_dir}/{outcome.pushed_version}")
        return [f"./graft predict {image} --model {canary}", f"./graft releases promote {where}"]
    if outcome.pushed_version:
        found_by_itself = choose_workspace() == config.out
        return [f"./graft predict {image}" + ("" if found_by_itself else f" --model {quote(str(model_dir))}")]
    return [f"./graft predict {image} --out {out} --run {outcome.run_id}"]


def _compare(evaluation: dict[str, Any]) -> str:
    """How the candidate stands to the version that was live."""
    baseline = evaluation["baseline"]
    if not baseline:
        return ""
    version, common = f"version {baseline['version']}", baseline["classes"]
    if not baseline["compared"]:
        return f"; not compared with {version}, {baseline.get('problem') or 'which shares too few classes with it'}"
    if set(common) == set(evaluation["classes"]):
        return f", and {version} has {baseline['accuracy']:.3f}"
    return (
        f"; on the {len(common)} classes that both know ({', '.join(common)}; {baseline['images']} images) "
        f"it has {baseline['candidate_accuracy']:.3f} and {version} {baseline['accuracy']:.3f}"
    )
