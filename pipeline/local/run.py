"""One run: resolve, run the chain, say what came of it, and write that down."""

import dataclasses
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
from components.records.ingest import IngestSummary
from components.records.push import PushOutcome
from components.records.quarantine import QUARANTINE, read_quarantine
from components.records.serving_verdict import ServingVerdict
from components.row_store.shards import FeatureKey
from pipeline.beam.engines import beam_pipeline_args, check_engine, explain_worker_error
from pipeline.beam.worker_check import check_workers
from pipeline.chain import Places, create_pipeline
from pipeline.check.left_out import suggest_conversion
from pipeline.config.config import Config
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
from pipeline.workspace.manifest import EmbeddingUse, FailedRun, RunManifest, RunResult, SkippedRun
from pipeline.workspace.workspace import Workspace, make_run_id, open_workspace
from schema.errors import DataError
from schema.text import printable
from serving.releases import versions
from serving.releases.record import RunConfig, RunResolved


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that trained a model.

    Attributes:
        result: what its manifest says.
        history: of the training; a copy lies beside the manifest.
        components: in the order in which they finished.
    """

    result: RunResult
    history: TrainingHistory
    components: list[Finished]


def run_pipeline(config: Config, console: Console, log: RunLog | None = None) -> Trained | SkippedRun:
    """Runs the whole pipeline in a workspace.

    Args:
        config: what the user asked for.
        console: where to say what happens.
        log: to be told which component runs; knows the run's id.
    Returns:
        What came of it; also in `runs/<run id>/manifest.json`.
    Raises:
        GraftError: for whatever the user can act on.
    """
    check_engine(config.beam, {"data": config.data, "out": config.out})
    display = ProgressDisplay(console)
    try:
        with open_workspace(config.out) as workspace, display, progress.listen(display.update):
            check_database(workspace)
            display.prepare("looking at what has changed since the last run")
            resolved = resolve(config, workspace)
            check_workers(config.beam, _list_places(config, resolved, workspace))
            return _run_chain(config, resolved, workspace, display, log)
    except Exception as error:
        if full := explain_disk_error(error, config.out):
            raise full from error
        if told := explain_worker_error(error):
            raise told from error
        raise


def _list_places(config: Config, resolved: Resolved, workspace: Workspace) -> dict[str, str]:
    """What Beam's workers read and write, by key."""
    places = {"data": absolute(config.data), "out": str(workspace.root)}
    return places if resolved.weights == RANDOM else places | {"weights": resolved.weights}


def _run_chain(
    config: Config, resolved: Resolved, workspace: Workspace, display: ProgressDisplay, log: RunLog | None
) -> Trained | SkippedRun:
    """Runs the components; whatever happens, the manifest says so."""
    run_id = log.run_id if log else make_run_id()
    folder = workspace.runs / run_id
    folder.mkdir()
    asked = RunConfig(**config.model_dump(mode="json"))
    begun = RunManifest(run_id=run_id, config=asked, resolved=RunResolved(**dataclasses.asdict(resolved)), seconds={})
    try:
        pipeline = _create_local_pipeline(config, resolved, workspace)
        _clear_artifacts(pipeline, workspace)
        runner = LocalRunner(
            run_id, lambda name: _start(name, display, log), lambda component: _finish(component, display, log)
        )
        runner.run(pipeline)
        ended = _collect(begun, display.finished, workspace, config.model_name)
        (ended.result if isinstance(ended, Trained) else ended).write(str(folder))
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
        try_to_write_report(workspace, run_id)
    return ended


def _write_failure(begun: RunManifest, reason: str, components: list[Finished], folder: pathlib.Path) -> None:
    """Writes the manifest of a run that stopped."""
    stopped = FailedRun(
        run_id=begun.run_id,
        config=begun.config,
        resolved=begun.resolved,
        failed=reason,
        seconds=_measure(components),
    )
    stopped.write(str(folder))


def _measure(components: list[Finished]) -> dict[str, float]:
    return {component.name: round(component.seconds, 2) for component in components}


def _create_local_pipeline(config: Config, resolved: Resolved, workspace: Workspace) -> Pipeline:
    parameters = make_parameters(config, resolved.window_end, str(workspace.model_dir(config.model_name)))
    places = Places(str(workspace.artifacts), str(workspace.embeddings), str(workspace.decoded))
    metadata = sqlite_metadata_connection_config(str(workspace.metadata))
    beam_args = beam_pipeline_args(config.beam, str(workspace.root))
    return create_pipeline(config, parameters, resolved, places, beam_args, metadata)


def _clear_artifacts(pipeline: Pipeline, workspace: Workspace) -> None:
    """Sees to it that each executor finds an empty folder, and that TFX reuses no damaged artifact."""
    store = open_database(workspace, pipeline.metadata_connection_config)
    remove_unfinished(store, workspace.artifacts)
    notes = [f"{file}: damaged; made again, with all that was made of it" for file in forget_damaged(store)]
    if lost := set_unknown_aside(store, workspace):
        notes.append(f"{lost}: holds the artifacts of a database that is lost; they are made anew")
    for note in notes:
        logging.warning(note)
        progress.report("", note=printable(note))


def _start(component: str, display: ProgressDisplay, log: RunLog | None) -> None:
    """Names the component to whoever watches, and in the log."""
    display.start(component)
    if log:
        log.start(component)


def _finish(component: Finished, display: ProgressDisplay, log: RunLog | None) -> bool:
    """What the ingest has counted tells how long the later steps will take; the gate, whether there will be any."""
    display.finish(component)
    if log:
        log.finish(describe_state(component))
    if component.name == "ExampleGen":
        images = IngestSummary.read(component.outputs["report"].uri).images_by_split
        display.expect("images embedded", images["train"])  # by the Trainer, if they are augmented
        display.expect("images evaluated", images["test"])
    return component.name != "RetrainingGate" or component.outputs["decision"].properties[TRAIN] == "true"


def _collect(
    begun: RunManifest, components: list[Finished], workspace: Workspace, model_name: str
) -> Trained | SkippedRun:
    """Reads what the components wrote, and keeps a copy of what people look at."""
    by_name = {c.name: c for c in components}
    folder = workspace.runs / begun.run_id
    decision = RetrainingDecision.read(by_name["RetrainingGate"].outputs["decision"].uri)
    ingest = IngestSummary.read(by_name["ExampleGen"].outputs["report"].uri)
    _save_quarantine(components, folder)
    live = versions.find_live(str(workspace.model_dir(model_name)))
    ended = SkippedRun(
        run_id=begun.run_id,
        config=begun.config,
        resolved=begun.resolved,
        ingest=ingest,
        decision=decision,
        live_version=live.number if live else None,
        seconds=_measure(components),
    )
    if not decision.train:
        return ended
    logs = by_name["Trainer"].outputs["model_run"].uri
    shutil.copy(os.path.join(logs, "training_curves.png"), folder)
    shutil.copy(os.path.join(logs, TrainingHistory.FILE), folder)
    history = TrainingHistory.read(logs)
    return Trained(_describe_training(ended, history, by_name, workspace), history, components)


def _describe_training(
    ended: SkippedRun, history: TrainingHistory, components: dict[str, Finished], workspace: Workspace
) -> RunResult:
    """Adds to the fields that every run has those of a run that trained."""
    pusher, evaluator, trainer = (components[name] for name in ("Pusher", "Evaluator", "Trainer"))
    pushed = PushOutcome.read(pusher.outputs["pushed_model"].properties)
    verdicts = [GateVerdict.read(components[gate].outputs["verdict"].uri) for gate in ("DataGate", "DriftGate")]
    return RunResult(
        run_id=ended.run_id,
        config=ended.config,
        resolved=ended.resolved,
        cached=[c.name for c in components.values() if c.cached],
        ingest=ended.ingest,
        warnings=[warning for verdict in verdicts for warning in verdict.warnings],
        embedding=_describe_embedding(components["Embedder"], trainer, history, workspace.root),
        evaluation=EvaluationSummary.read(evaluator.outputs["evaluation"].uri),
        kept=history.kept,
        serving=_read_serving(components["ServingValidator"]),
        pushed_version=pushed.version,
        pushed_now=pushed.new and not pusher.cached,
        canary=pushed.canary,
        held_back=pushed.held_back,
        removed_versions=[] if pusher.cached else pushed.removed_versions,
        decision=ended.decision,
        live_version=ended.live_version,
        trained_model=str(_find_model(trainer).relative_to(workspace.root)),
        seconds=ended.seconds,
    )


def _find_model(trainer: Finished) -> pathlib.Path:
    return pathlib.Path(path_utils.serving_model_path(trainer.outputs["model"].uri))


def _describe_embedding(
    embedder: Finished, trainer: Finished, history: TrainingHistory, workspace: pathlib.Path
) -> EmbeddingUse:
    """Counts the images that went through the base, or its feature extractor, in this run.

    The Trainer computes what was pruned from the store since the Embedder ran.
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


def _read_serving(validator: Finished) -> ServingVerdict | None:
    uri = validator.outputs["infra_blessing"].uri
    return ServingVerdict.read(uri) if os.path.exists(os.path.join(uri, ServingVerdict.FILE)) else None


def _save_quarantine(components: list[Finished], folder: pathlib.Path) -> pathlib.Path | None:
    """Copies the list of files left out beside the manifest; None if there is none."""
    for component in components:
        if component.name == "ExampleGen":
            source = pathlib.Path(component.outputs["report"].uri) / QUARANTINE
            return pathlib.Path(shutil.copy(source, folder)) if source.stat().st_size else None
    return None
