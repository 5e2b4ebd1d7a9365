"""Report at the end of a run, as text and as JSON."""

import pathlib

from rich.console import Console
from rich.markup import escape

from components.example_gen import ignored
from components.network.heads import describe_units
from components.network.weights import RANDOM
from components.records.evaluation import Baseline, EvaluationSummary
from components.records.history import TrainingHistory
from components.records.ingest import IngestSummary
from components.records.push import SUPERSEDED
from components.records.quarantine import QUARANTINE, read_quarantine
from pipeline.check.left_out import suggest_conversion
from pipeline.config.config import Config
from pipeline.config.here import find_configured_workspace
from pipeline.console.printing import print_labelled, print_unbroken
from pipeline.local.run import Trained
from pipeline.report.advice import advise, describe_better_baseline
from pipeline.report.calibration import describe_calibration
from pipeline.report.comparisons import describe_chance
from pipeline.report.outcome import warn_of_majority
from pipeline.workspace.example_image import find_image
from pipeline.workspace.manifest import RunResult, SkippedRun
from pipeline.workspace.workspace import Workspace
from schema.text import list_some, printable, quote

Line = tuple[str, str]  # label, and text in rich's markup
_NOTE = "[yellow]Note:[/]"
_UNTRAINED_BASE = "The base has random weights: figures show that the chain works, not what ResNet50 can do."


def render_json(run: Trained | SkippedRun, config: Config) -> str:
    """Renders the manifest with the paths of model and report, as JSON."""
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    manifest = run if isinstance(run, SkippedRun) else run.result
    version = manifest.live_version if isinstance(manifest, SkippedRun) else manifest.pushed_version
    model = str(model_dir / str(version)) if version else None
    return manifest.render_output(model, str(workspace.runs / manifest.run_id))


def print_report(run: Trained | SkippedRun, config: Config, console: Console) -> None:
    """Prints data, training, accuracy, verdict and the next command."""
    if isinstance(run, SkippedRun):
        _print_skipped(run, config, console)
        return
    result = run.result
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    lines = [
        _data_line(result.ingest),
        *_left_out_lines(result, config, workspace),
        *((_NOTE, escape(warning)) for warning in result.warnings),
        *_embedding_lines(result),
        *_training_lines(run.history, config),
        *_device_lines(run.history),
        _accuracy_line(result.evaluation),
        *_logistic_regression_lines(result.evaluation),
        *_calibration_lines(result.evaluation),
        *_better_baseline_lines(result.evaluation),
    ]
    if config.weights == RANDOM:
        lines.append((_NOTE, _UNTRAINED_BASE))
    lines += _verdict_lines(run, config, str(model_dir))
    if result.removed_versions:
        removed = ", ".join(map(str, result.removed_versions))
        lines.append(("Removed:", f"version {removed} (keep_versions is {config.keep_versions})"))
    console.print()
    for label, text in lines:
        print_labelled(console, label, text)
    console.print()
    print_unbroken(console, "Report:", f"{workspace.runs / result.run_id}/")
    print_labelled(console, "", "has report.html, manifest.json, training_curves.png")
    for label, step in zip(("Next:", ""), _next_steps(result, config, model_dir), strict=False):
        print_unbroken(console, label, step)


def _print_skipped(result: SkippedRun, config: Config, console: Console) -> None:
    """Prints the reason why nothing was trained, and the live version."""
    workspace = Workspace(pathlib.Path(config.out))
    model_dir = workspace.model_dir(config.model_name)
    console.print()
    for label, text in [
        _data_line(result.ingest),
        *_left_out_lines(result, config, workspace),
        ("Ended:", f"{escape(result.decision.reason)}. Nothing was trained."),
    ]:
        print_labelled(console, label, text)
    if result.live_version:
        print_unbroken(console, "Live:", f"{model_dir}/{result.live_version}")
    console.print()
    print_labelled(console, "Next:", "the same command with --force trains all the same")


def _data_line(ingest: IngestSummary) -> Line:
    counts, totals = ingest.images_by_split, ingest.images_by_class
    shown = list_some([f"{name} {count}" for name, count in totals.items()], 10)
    window = f"; date folders {ingest.spans[0]} to {ingest.spans[-1]}" if ingest.spans else ""
    return "Data:", (
        f"{sum(counts.values())} images of {len(totals)} classes ({escape(printable(shown))}): "
        f"{counts['train']} to train, {counts['val']} to validate, {counts['test']} to test{window}"
    )


def _left_out_lines(result: RunResult | SkippedRun, config: Config, workspace: Workspace) -> list[Line]:
    """Counts the files that are not in the model: left out, with the quarantine file, and ignored."""
    ingest, lines = result.ingest, []
    if ingest.broken + ingest.left_out:
        quarantine = workspace.runs / result.run_id / QUARANTINE
        lines.append(("Left out:", f"{', '.join(_count_left_out(ingest))}; {escape(str(quarantine))} says why"))
        left_out = read_quarantine(str(quarantine.parent)) if quarantine.is_file() else []
        if advice := suggest_conversion(left_out, config.data):
            lines.append(("", escape(printable(": ".join(advice)))))
    if phrases := ignored.describe(ingest.ignored):
        lines.append(("Ignored:", escape(printable(", ".join(phrases)))))
    return lines


def _count_left_out(ingest: IngestSummary) -> list[str]:
    """Counts the files left out, by reason."""
    contradictions = ingest.contradictions
    counts = [
        (ingest.broken, "broken file", "broken files"),
        (ingest.left_out - contradictions, "copy of an image", "copies of images"),
        (contradictions, "file of an image that stands in two classes", "files of images that stand in two classes"),
    ]
    return [f"{count} {one if count == 1 else several}" for count, one, several in counts if count]


def _embedding_lines(result: RunResult) -> list[Line]:
    embedding = result.embedding
    lines = []
    if embedding.images and "Embedder" not in result.cached:
        stored = embedding.images - embedding.computed
        computed = f"{embedding.computed} {'image' if embedding.computed == 1 else 'images'}"
        lines.append(("Embedded:", computed + (f"; {stored} more are stored from earlier runs" if stored else "")))
    if embedding.note:
        lines.append((_NOTE, escape(embedding.note)))
    return lines


def _training_lines(history: TrainingHistory, config: Config) -> list[Line]:
    text = f"{_describe_phase(history, 'head', config.head_epochs)} of the head"
    if "fine-tune" in history.scores:
        asked = config.fine_tune_epochs
        text += f", {_describe_phase(history, 'fine-tune', asked)} of fine-tuning from {config.fine_tune_from}"
    text += f"; {config.weights} weights, {config.image_size} px"
    [kept] = (row for row in history.epochs if row.best and row.phase == history.kept)
    what = {"head": "the head alone", "fine-tune": "the fine-tuned model"}[history.kept]
    best = f"{what}, of its epoch {kept.epoch}: {_describe_scores(history)}"
    tried = [("Heads:", _describe_heads(history))] if history.tried_heads else []
    return [("Training:", text), *tried, ("Kept:", best)]


def _describe_heads(history: TrainingHistory) -> str:
    """Lists the heads that were tried: "no hidden layer, loss 0.310, accuracy 0.900 (kept); ..."."""
    heads = [
        f"{describe_units(head.units)}, loss {head.score.loss:.3f}, accuracy {head.score.accuracy:.3f}"
        f"{' (kept)' if head.kept else ''}"
        for head in history.tried_heads
    ]
    return f"tried on val: {'; '.join(heads)}"


def _describe_phase(history: TrainingHistory, phase: str, asked: int) -> str:
    """Counts the epochs of a phase: "4 of 5 epochs (stopped early)"."""
    trained = sum(row.phase == phase for row in history.epochs)
    epochs = "epoch" if asked == 1 else "epochs"
    return f"{trained} {epochs}" if trained >= asked else f"{trained} of {asked} {epochs} (stopped early)"


def _device_lines(history: TrainingHistory) -> list[Line]:
    """Names the card of the training, with its precision; nothing where a processor trained."""
    computation = history.computation
    return [("", f"on {escape(computation.text)}")] if computation and computation.has_card else []


def _describe_scores(history: TrainingHistory) -> str:
    """Compares the phases by loss and accuracy on `val`, the kept one first."""
    kept = history.kept
    text = f"loss {history.scores[kept].loss:.3f}, accuracy {history.scores[kept].accuracy:.3f} on val"
    for phase, score in history.scores.items():
        if phase != kept:
            other = {"head": "the head alone", "fine-tune": "fine-tuned"}[phase]
            text += f" ({other} loss {score.loss:.3f}, accuracy {score.accuracy:.3f})"
    return text


def _accuracy_line(evaluation: EvaluationSummary) -> Line:
    low, high = evaluation.accuracy_interval
    return "Accuracy:", (
        f"[bold]{evaluation.accuracy:.3f}[/] on {evaluation.images} test images "
        f"(95 % confidence {low:.3f} to {high:.3f})"
    )


def _logistic_regression_lines(evaluation: EvaluationSummary) -> list[Line]:
    """Gives the accuracies of the logistic regression; nothing without embeddings."""
    fitted = evaluation.logistic_regression
    if not fitted:
        return []
    text = f"a logistic regression on the embeddings has {fitted.test_accuracy:.3f} on {fitted.test_images} test images"
    return [("", f"{text}, and {fitted.val_accuracy:.3f} on val")]


def _calibration_lines(evaluation: EvaluationSummary) -> list[Line]:
    """Gives log loss and calibration error, before and with the temperature, and the number of accepted test images."""
    return [("", escape(sentence)) for sentence in describe_calibration(evaluation)]


def _better_baseline_lines(evaluation: EvaluationSummary) -> list[Line]:
    note = describe_better_baseline(evaluation)
    return [(_NOTE, escape(note))] if note else []


def _verdict_lines(run: Trained, config: Config, model_dir: str) -> list[Line]:
    result, evaluation = run.result, run.result.evaluation
    if not evaluation.blessed:
        reasons = escape("; ".join(evaluation.failures))
        verdict = f"[red]not good enough[/]: {reasons}. Not pushed; {_stays(result)}"
        advice = advise(evaluation, run.history, config)
        return [("Verdict:", verdict), *(("Try:", escape(sentence)) for sentence in advice)]
    why = f"{evaluation.accuracy:.3f} where {evaluation.min_accuracy:.3f} is needed{_compare(evaluation)}"
    lines = [("Verdict:", f"[green]good enough[/]: {escape(why)}")]
    lines += [("", escape(warning)) for warning in warn_of_majority(evaluation)] + _served_lines(result)
    if result.serving and not result.serving.blessed:
        return lines
    if result.held_back:
        return [
            *lines,
            ("Pushed:", f"[yellow]no[/]: {escape('; '.join(result.reasons))}. {_stays(result).capitalize()}"),
        ]
    state = "Canary:" if result.canary else "Pushed:" if result.pushed_now else "Live:"
    note = "" if result.pushed_now else "  (pushed before; nothing new)"
    if config.canary and result.pushed_now and not result.canary:
        note = "  (live: there was nothing to try it beside as a canary)"
    return [*lines, (state, f"{escape(f'{model_dir}/{result.pushed_version}')}{note}")]


def _stays(result: RunResult) -> str:
    """Names the version that stays live where this model is not pushed."""
    return f"version {result.live_version} stays live." if result.live_version else "no version is live yet."


def _served_lines(result: RunResult) -> list[Line]:
    """Describes the ServingValidator's verdict: reasons, or latency and memory in a model server."""
    serving = result.serving
    if not serving:
        return []
    if not serving.blessed:
        reasons = "; ".join(serving.reasons)
        return [("Served:", f"[red]no[/]: {escape(reasons)}. Not pushed; {_stays(result)}")]
    images = f"{serving.images} {'image' if serving.images == 1 else 'images'}"
    figures = f"median {serving.median_ms_grpc:.3g} ms, {serving.memory_mb:.0f} MB ({serving.server})"
    return [("Served:", f"{images} by gRPC and REST, with the answers of the evaluation; {escape(figures)}")]


def _next_steps(result: RunResult, config: Config, model_dir: pathlib.Path) -> list[str]:
    """Returns the next commands: predict with the model, and make it live if it is not."""
    out, image = quote(config.out), quote(find_image(config.data))
    where = f"--out {out} --model {config.model_name}"
    if result.held_back and result.held_back.state != SUPERSEDED:
        return [f"./graft releases promote {result.held_back.version} {where}"]
    if result.canary:
        canary = quote(f"{model_dir}/{result.pushed_version}")
        return [f"./graft predict {image} --model {canary}", f"./graft releases promote {where}"]
    if result.pushed_version:
        found_by_itself = find_configured_workspace() == config.out  # another one, such as the demo's, may cease to be
        return [f"./graft predict {image}" + ("" if found_by_itself else f" --model {quote(str(model_dir))}")]
    return [f"./graft predict {image} --out {out} --run {result.run_id}"]


def _compare(evaluation: EvaluationSummary) -> str:
    """Compares the accuracy of the candidate with that of the live version; "" without a live version."""
    baseline = evaluation.baseline
    if not baseline:
        return ""
    return _compare_live(evaluation, baseline) + _compare_best(evaluation)


def _compare_best(evaluation: EvaluationSummary) -> str:
    best = evaluation.best
    if not best:
        return ""
    if not best.compared:
        return f"; not compared with the best kept version {best.version}, {best.problem or 'which shares no image'}"
    return f"; the best kept version {best.version} has {best.accuracy:.3f}{_describe_pairs(best)}"


def _compare_live(evaluation: EvaluationSummary, baseline: Baseline) -> str:
    version, common = f"version {baseline.version}", baseline.classes
    if not baseline.compared:
        return f"; not compared with {version}, {baseline.problem or 'which shares too few classes with it'}"
    pairs = _describe_pairs(baseline)
    if set(common) == set(evaluation.classes):
        return f", and {version} has {baseline.accuracy:.3f}{pairs}"
    return (
        f"; on the {len(common)} classes that both know ({', '.join(common)}; {baseline.images} images) "
        f"it has {baseline.candidate_accuracy:.3f} and {version} {baseline.accuracy:.3f}{pairs}"
    )


def _describe_pairs(other: Baseline) -> str:
    """Describes the test images that one model alone predicts right; "" for a comparison by Graft 0.2.0."""
    if other.p_value is None:
        return ""
    return f" ({other.won} right by this model alone, {other.lost} by that version alone{describe_chance(other)})"
