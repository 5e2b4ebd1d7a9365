"""Runs the pipeline in a workspace: resolves, runs the chain, and writes the manifest."""

import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import shutil

from rich.console import Console
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.utils import path_utils

from components import progress
from components.gates.retraining import TRAIN
from components.network.weights import RANDOM
from components.records.decision import RetrainingDecision
from components.records.embedding import EmbeddingSummary
from components.records.evaluation import EvaluationSummary
from components.records.gate_verdict import GateVerdict
from components.records.history import TrainingHistory
from components.records.image_list import IMAGES
from components.records.ingest import IngestSummary
from components.records.push import PushOutcome
from components.records.quarantine import QUARANTINE, read_quarantine
from components.records.serving_verdict import ServingVerdict
from components.row_store.shards import FeatureKey
from pipeline.beam.engines import beam_pipeline_args, check_engine, explain_worker_error
from pipeline.beam.faults import explain_engine_error
from pipeline.beam.job_server import has_ended
from pipeline.beam.worker_check import check_workers
from pipeline.card_advice import RUN_REMEDY, describe_unused_card, explain_full_card
from pipeline.chain import Paths, create_pipeline
from pipeline.check.left_out import suggest_conversion
from pipeline.config.config import Config
from pipeline.console.printing import as_called
from pipeline.libraries import read_libraries
from pipeline.local import xla_cache
from pipeline.local.card_watch import CardWatch, watch_card
from pipeline.local.computations import describe_computation, describe_computations
from pipeline.local.interruption import describe_kept
from pipeline.local.kept_predictions import save_predictions
from pipeline.local.progress_display import ProgressDisplay, describe_state
from pipeline.local.run_log import RunLog
from pipeline.local.runner import Finished, LocalRunner
from pipeline.parameters import absolute, make_parameters
from pipeline.report.page import try_to_write_report
from pipeline.resolve import Resolved, resolve
from pipeline.workspace.artifact_files import forget_damaged
from pipeline.workspace.cleanup import remove_unfinished, set_unknown_aside
from pipeline.workspace.database import check_database, open_database
from pipeline.workspace.disk import explain_disk_error
from pipeline.workspace.left_jobs import remove_ended
from pipeline.workspace.manifest import EmbeddingUse, FailedRun, RunManifest, RunResult, SkippedRun
from pipeline.workspace.workspace import Workspace, find_start, make_run_id, open_workspace
from schema.errors import DataError, GraftError
from schema.text import printable
from serving.client import launch
from serving.releases import versions
from serving.releases.record import RunConfig, RunResolved


@dataclasses.dataclass(frozen=True)
class Trained:
    """Run that trained a model.

    Attributes:
        result: the manifest.
        history: history of the training; a copy lies beside the manifest.
        components: the finished components, in order.
    """

    result: RunResult
    history: TrainingHistory
    components: list[Finished]


def run_pipeline(config: Config, console: Console, log: RunLog | None = None) -> Trained | SkippedRun:
    """Runs the whole pipeline in a workspace.

    Args:
        config: the user's configuration.
        console: console for the progress.
        log: log of the run, which has the run's id; None for a new id and no log.
    Returns:
        The result, which is also in `runs/<run id>/manifest.json`.
    Raises:
        GraftError: for each error that the user can act on.
    """
    notes = check_engine(config.beam, {"data": config.data, "out": config.out})
    display = ProgressDisplay(console)
    try:
        with (
            open_workspace(config.out) as workspace,
            xla_cache.keep_compiled(workspace.compiled),
            display,
            progress.listen(display.update),
        ):
            for note in notes:
                progress.report("", note=note)
            if unused := describe_unused_card(RUN_REMEDY):
                _note(as_called(unused))
            check_database(workspace)
            display.prepare("looking at what has changed since the last run")
            resolved = resolve(config, workspace)
            check_workers(config.beam, _list_worker_paths(config, resolved, workspace))
            return _run_chain(config, resolved, workspace, display, log)
    except Exception as error:
        if full := explain_disk_error(error, config.out):
            raise full from error
        if crowded := explain_full_card(error):
            logging.error("the memory of the card is full", exc_info=error)
            raise crowded from error
        if raised := explain_worker_error(error):
            raise raised from error
        if fault := _explain_engine_error(error, log):
            raise fault from error
        raise


def _explain_engine_error(error: Exception, log: RunLog | None) -> GraftError | None:
    """Returns the error of another engine, with what is kept; the whole error goes into the log."""
    component, finished = (log.component, log.finished) if log else ("", 0)
    whole = "The whole error is in graft.log."
    fault = explain_engine_error(error, describe_kept("stopped", component, finished), whole)
    if fault:
        logging.error("the engine of Apache Beam failed", exc_info=error)
    return fault


def _list_worker_paths(config: Config, resolved: Resolved, workspace: Workspace) -> dict[str, str]:
    """Returns the paths that Beam's workers read and write, by key."""
    paths = {"data": absolute(config.data), "out": str(workspace.root)}
    return paths if resolved.weights == RANDOM else paths | {"weights": resolved.weights}


def _run_chain(
    config: Config, resolved: Resolved, workspace: Workspace, display: ProgressDisplay, log: RunLog | None
) -> Trained | SkippedRun:
    """Runs the components, and writes the manifest of the run, also of one that fails."""
    run_id = log.run_id if log else make_run_id()
    folder = workspace.runs / run_id
    folder.mkdir()
    run_config = RunConfig(**config.model_dump(mode="json"))
    begun = RunManifest(
        run_id=run_id,
        config=run_config,
        resolved=RunResolved(**dataclasses.asdict(resolved)),
        seconds={},
        libraries=read_libraries(),
    )
    try:
        pipeline = _create_local_pipeline(config, resolved, workspace)
        _clear_artifacts(pipeline, workspace)
        with contextlib.ExitStack() as spare, watch_card() as card:
            runner = LocalRunner(
                run_id,
                lambda name: _start(name, display, log, spare, card),
                lambda component: _finish(component, display, log, card),
            )
            runner.run(pipeline)
        begun = begun.model_copy(update={"card_waited": card.waited})
        outcome = _collect(begun, display.finished, workspace, config.model_name)
        (outcome.result if isinstance(outcome, Trained) else outcome).write(str(folder))
    except DataError as error:
        _write_failure(begun, str(error), display.finished, folder)
        quarantine = _save_quarantine(display.finished, folder)
        if not quarantine:
            raise
        advice = suggest_conversion(read_quarantine(str(folder)), config.data)
        whole = f"The whole list of files left out: {quarantine}"
        raise DataError(*error.args, *([": ".join(advice)] if advice else []), whole) from error
    except BaseException as error:
        _write_failure(begun, repr(error), display.finished, folder)
        raise
    finally:
        try:
            try_to_write_report(workspace, run_id)
        finally:  # also where Ctrl-C ends the page
            _note_duration(workspace, run_id)
    return outcome


def _write_failure(begun: RunManifest, reason: str, components: list[Finished], folder: pathlib.Path) -> None:
    """Writes the manifest of a run that stopped."""
    stopped = FailedRun(
        run_id=begun.run_id,
        config=begun.config,
        resolved=begun.resolved,
        failed=reason,
        seconds=_measure(components),
        libraries=begun.libraries,
        peak_mb=_measure_memory(components),
        computations=describe_computations(components),
    )
    stopped.write(str(folder))
    _save_images(components, folder)


def _note_duration(workspace: Workspace, run_id: str) -> None:
    """Adds the time since the id of the run to the manifest, behind the page."""
    manifest, begun = workspace.read_manifest(run_id), find_start(run_id)
    if manifest is None or begun is None:
        return
    passed = (datetime.datetime.now(datetime.timezone.utc) - begun).total_seconds()
    if passed >= 0:  # unless the clock was set back
        with contextlib.suppress(OSError):  # the result is written already
            manifest.model_copy(update={"run_seconds": round(passed, 2)}).write(str(workspace.runs / run_id))


def _measure(components: list[Finished]) -> dict[str, float]:
    return {component.name: round(component.seconds, 2) for component in components}


def _measure_memory(components: list[Finished]) -> dict[str, float] | None:
    return {component.name: component.peak_mb for component in components if component.peak_mb is not None} or None


def _create_local_pipeline(config: Config, resolved: Resolved, workspace: Workspace) -> Pipeline:
    parameters = make_parameters(config, resolved.window_end, str(workspace.model_dir(config.model_name)))
    paths = Paths(str(workspace.artifacts), str(workspace.embeddings), str(workspace.decoded))
    metadata = sqlite_metadata_connection_config(str(workspace.metadata))
    beam_args = beam_pipeline_args(config.beam, str(workspace.root))
    return create_pipeline(config, parameters, resolved, paths, beam_args, metadata)


def _clear_artifacts(pipeline: Pipeline, workspace: Workspace) -> None:
    """Removes unfinished outputs, and makes TFX forget damaged artifacts and the artifacts of a lost database."""
    store = open_database(workspace, pipeline.metadata_connection_config)
    left = remove_ended(store, workspace.artifacts, has_ended)
    remove_unfinished(store, workspace.artifacts, left)
    notes = [f"{job.describe_cancel()} Its output stays until it has ended." for job in left.values()]
    notes += [f"{file}: damaged; made again, with the artifacts that depend on it" for file in forget_damaged(store)]
    if lost := set_unknown_aside(store, workspace):
        notes.append(f"{lost}: has the artifacts of a lost database; the run makes them again")
    for note in notes:
        _note(note)


def _note(note: str) -> None:
    """Writes a note into the log, and shows it on the display."""
    logging.warning(note)
    progress.report("", note=printable(note))


def _start(
    component: str, display: ProgressDisplay, log: RunLog | None, spare: contextlib.ExitStack, card: CardWatch
) -> None:
    """Shows the started component on the display, and in the log.

    The ServingValidator's server imports TensorFlow while the Evaluator runs, which leaves cores idle.
    """
    display.start(component)
    card.start(component)
    if log:
        log.start(component)
    if component == "Evaluator" and not launch.find_binary():
        spare.enter_context(launch.keep_spare(launch.ON_CPU))


def _finish(component: Finished, display: ProgressDisplay, log: RunLog | None, card: CardWatch) -> bool:
    """Shows the finished component, and sets the totals of later steps from the counts of ExampleGen.

    Returns:
        False if the RetrainingGate decided against a training: the run ends there.
    """
    display.finish(component)
    card.finish(component.name)
    if log:
        log.finish(describe_state(component))
    if computation := describe_computation(component):
        logging.info("%s computed on %s.", component.name, computation.text)
    if component.name == "ExampleGen":
        images = IngestSummary.read(component.outputs["report"].uri).images_by_split
        display.expect("images embedded", images["train"])  # the Trainer embeds augmented images
        display.expect("images evaluated", images["test"])
    return component.name != "RetrainingGate" or component.outputs["decision"].properties[TRAIN] == "true"


def _collect(
    begun: RunManifest, components: list[Finished], workspace: Workspace, model_name: str
) -> Trained | SkippedRun:
    """Builds the manifest from the artifacts; copies history, curves and quarantine into the run's folder."""
    by_name = {c.name: c for c in components}
    folder = workspace.runs / begun.run_id
    decision = RetrainingDecision.read(by_name["RetrainingGate"].outputs["decision"].uri)
    ingest = IngestSummary.read(by_name["ExampleGen"].outputs["report"].uri)
    _save_images(components, folder)
    _save_quarantine(components, folder)
    live = versions.find_live(str(workspace.model_dir(model_name)))
    skipped = SkippedRun(
        run_id=begun.run_id,
        config=begun.config,
        resolved=begun.resolved,
        ingest=ingest,
        decision=decision,
        live_version=live.number if live else None,
        seconds=_measure(components),
        libraries=begun.libraries,
        peak_mb=_measure_memory(components),
        computations=describe_computations(components),
        card_waited=begun.card_waited,
    )
    if not decision.train:
        return skipped
    logs = by_name["Trainer"].outputs["model_run"].uri
    shutil.copy(os.path.join(logs, "training_curves.png"), folder)
    shutil.copy(os.path.join(logs, TrainingHistory.FILE), folder)
    save_predictions(logs, by_name["Evaluator"].outputs["evaluation"].uri, folder)
    _save_card(by_name["Pusher"], folder)
    history = TrainingHistory.read(logs)
    return Trained(_describe_training(skipped, history, by_name, workspace), history, components)


def _save_card(pusher: Finished, folder: pathlib.Path) -> None:
    """Copies the model card of the run's version into the run's folder, if there is such a version with a card."""
    pushed = PushOutcome.read(pusher.outputs["pushed_model"].properties)
    card = pathlib.Path(pushed.path, versions.CARD)
    if pushed.path and card.is_file():
        shutil.copy(card, folder)


def _describe_training(
    skipped: SkippedRun, history: TrainingHistory, components: dict[str, Finished], workspace: Workspace
) -> RunResult:
    """Builds the manifest of a run that trained from that of a skipped run."""
    pusher, evaluator, trainer = (components[name] for name in ("Pusher", "Evaluator", "Trainer"))
    pushed = PushOutcome.read(pusher.outputs["pushed_model"].properties)
    verdicts = [GateVerdict.read(components[gate].outputs["verdict"].uri) for gate in ("DataGate", "DriftGate")]
    return RunResult(
        run_id=skipped.run_id,
        config=skipped.config,
        resolved=skipped.resolved,
        cached=[c.name for c in components.values() if c.cached],
        ingest=skipped.ingest,
        warnings=[warning for verdict in verdicts for warning in verdict.warnings],
        embedding=_describe_embedding(components["Embedder"], trainer, history, workspace.root),
        evaluation=EvaluationSummary.read(evaluator.outputs["evaluation"].uri),
        kept=history.kept,
        serving=ServingVerdict.find(components["ServingValidator"].outputs["infra_blessing"].uri),
        pushed_version=pushed.version,
        pushed_now=pushed.new and not pusher.cached,
        canary=pushed.canary,
        held_back=pushed.held_back,
        removed_versions=[] if pusher.cached else pushed.removed_versions,
        decision=skipped.decision,
        live_version=skipped.live_version,
        trained_model=str(_find_model(trainer).relative_to(workspace.root)),
        seconds=skipped.seconds,
        libraries=skipped.libraries,
        peak_mb=skipped.peak_mb,
        computations=skipped.computations,
        card_waited=skipped.card_waited,
    )


def _find_model(trainer: Finished) -> pathlib.Path:
    return pathlib.Path(path_utils.serving_model_path(trainer.outputs["model"].uri))


def _describe_embedding(
    embedder: Finished, trainer: Finished, history: TrainingHistory, workspace: pathlib.Path
) -> EmbeddingUse:
    """Counts the images that went through the base, or its feature extractor, in this run.

    The Trainer computes the features that were pruned from the store after the Embedder ran.
    """
    uri = embedder.outputs["embeddings"].uri
    summary = EmbeddingSummary.read(uri)
    return EmbeddingUse(
        images=summary.images,
        computed=0 if embedder.cached else summary.computed,
        trunk_computed=0 if trainer.cached else history.trunk_computed,
        kinds=[FeatureKey.from_json(kind).name for kind in (summary.kind, summary.trunk) if kind],
        artifact=str(pathlib.Path(uri).relative_to(workspace)),
        note=summary.note,
    )


def _save_images(components: list[Finished], folder: pathlib.Path) -> None:
    """Copies the list of the kept images into the run's folder, if ExampleGen has finished."""
    if report := _find_report(components):
        shutil.copy(report / IMAGES, folder)


def _save_quarantine(components: list[Finished], folder: pathlib.Path) -> pathlib.Path | None:
    """Copies the list of files left out into the run's folder; returns None if no file was left out."""
    report = _find_report(components)
    if not report or not (report / QUARANTINE).stat().st_size:
        return None
    return pathlib.Path(shutil.copy(report / QUARANTINE, folder))


def _find_report(components: list[Finished]) -> pathlib.Path | None:
    """Returns the folder of ExampleGen's report; None if ExampleGen has not finished."""
    return next((pathlib.Path(c.outputs["report"].uri) for c in components if c.name == "ExampleGen"), None)
