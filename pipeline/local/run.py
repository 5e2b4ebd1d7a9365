"""One run: resolve, run the chain, say what came of it, and write that down."""

import dataclasses
import json
import logging
import pathlib
import shutil
from typing import Any

from rich.console import Console
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.utils import path_utils

from components import progress
from components.embedder.artifact import EmbeddingReport
from components.evaluator.summary import FILE as SUMMARY_FILE
from components.gates.data import FILE
from components.gates.retraining import TRAIN, Decision, read_decision
from components.network.weights import RANDOM
from components.pusher.component import CANARY, HELD_BACK, NEW, OVERTAKEN, PUSHED, PUSHED_VERSION, REMOVED_VERSIONS
from components.serving_validator.component import FILE as VERDICT_FILE
from pipeline.beam.engines import beam_pipeline_args, check_engine, explain_worker_error
from pipeline.beam.worker_check import check_workers
from pipeline.chain import Places, create_pipeline
from pipeline.check.left_out import QUARANTINE, read_quarantine, suggest_conversion
from pipeline.config.config import Config
from pipeline.local.progress_display import ProgressDisplay, describe_state
from pipeline.local.run_log import RunLog
from pipeline.local.runner import Finished, LocalRunner
from pipeline.parameters import absolute, make_parameters
from pipeline.resolve import Resolved, resolve
from pipeline.workspace.artifact_files import forget_damaged
from pipeline.workspace.cleanup import remove_unfinished, set_unknown_aside
from pipeline.workspace.database import check_database, open_database
from pipeline.workspace.disk import explain_disk_error
from pipeline.workspace.workspace import Workspace, make_run_id, open_workspace, write_json
from schema.errors import DataError
from schema.text import printable
from serving.releases import versions


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        run_id: its folder below `runs/`.
        components: in the order in which they finished.
        ingest: `report.json` of ExampleGen.
        warnings: of the gate.
        evaluation: `summary.json` of the Evaluator.
        embedding: how many images are embedded, how many of them in this run, and where, see `_describe_embedding`.
        history: of the training: `kept`, `scores` and `epochs`.
        serving: `verdict.json` of the ServingValidator; None if the Evaluator had refused the model before.
        pushed_version: the version this model is live as, or the canary, or None.
        pushed_now: whether this run pushed it.
        canary: whether that version is the canary.
        held_back: `version` and `state` ("withdrawn", "canary" or "overtaken") of the one for which it was not pushed,
            or None.
        removed_versions: old ones that the push removed.
        decision: `decision.json` of the RetrainingGate.
        live_version: the version that is live behind the run, or None.
        trained_model: the SavedModel of the run, pushed or not; relative to the workspace.
    """

    run_id: str
    components: list[Finished]
    ingest: dict[str, Any]
    warnings: list[str]
    embedding: dict[str, Any]
    evaluation: dict[str, Any]
    history: dict[str, Any]
    serving: dict[str, Any] | None
    pushed_version: int | None
    pushed_now: bool
    removed_versions: list[int]
    canary: bool = False
    held_back: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    live_version: int | None = None
    trained_model: str | None = None

    @property
    def reasons(self) -> list[str]:
        """Why there is no pushed version."""
        if not self.held_back:
            return self.evaluation["failures"] + (self.serving["reasons"] if self.serving else [])
        version, withdrawn = self.held_back["version"], self.held_back["state"] == "withdrawn"
        if self.held_back["state"] == OVERTAKEN:
            return [f"version {version} became live meanwhile, and this model was not compared with it; run again"]
        before = "withdrawn before as" if withdrawn else "the same model is the canary,"
        return [f"{before} version {version}; `releases promote` makes it live{' again' * withdrawn}"]


@dataclasses.dataclass(frozen=True)
class Ended:
    """A run that ended before training, for there was no need of it.

    Attributes:
        run_id: its folder below `runs/`.
        decision: of the RetrainingGate.
        ingest: `report.json` of ExampleGen.
        live_version: what is live, or None.
    """

    run_id: str
    decision: Decision
    ingest: dict[str, Any]
    live_version: int | None


def run_pipeline(config: Config, console: Console, log: RunLog | None = None) -> Outcome | Ended:
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
) -> Outcome | Ended:
    """Runs the components; whatever happens, the manifest says so."""
    run_id = log.run_id if log else make_run_id()
    folder = workspace.runs / run_id
    folder.mkdir()
    manifest: dict[str, Any] = {
        "run_id": run_id,
        "config": config.model_dump(mode="json"),
        "resolved": dataclasses.asdict(resolved),
    }
    try:
        pipeline = _create_local_pipeline(config, resolved, workspace)
        _clear_artifacts(pipeline, workspace)
        runner = LocalRunner(
            run_id, lambda name: _start(name, display, log), lambda component: _finish(component, display, log)
        )
        runner.run(pipeline)
        outcome = _collect(run_id, display.finished, folder, workspace.model_dir(config.model_name))
        manifest |= describe(outcome)
    except DataError as error:
        manifest["failed"] = str(error)
        quarantine = _save_quarantine(display.finished, folder)
        if not quarantine:
            raise
        advice = suggest_conversion(read_quarantine(quarantine), config.data)
        whole = f"The whole list of files left out: {quarantine}"
        raise DataError(*error.args, *([": ".join(advice)] if advice else []), whole) from error
    except BaseException as error:
        manifest["failed"] = repr(error)
        raise
    finally:
        manifest["seconds"] = {c.name: round(c.seconds, 2) for c in display.finished}
        write_json(folder / "manifest.json", manifest)
    return outcome


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
        counts = _read(component, "report", "report.json")["counts"]
        images = {split: sum(by_label.values()) for split, by_label in counts.items()}
        display.expect("images embedded", images["train"])  # by the Trainer, if they are augmented
        display.expect("images evaluated", images["test"])
    return component.name != "RetrainingGate" or component.outputs["decision"].properties[TRAIN] == "true"


def _collect(run_id: str, components: list[Finished], folder: pathlib.Path, model_dir: pathlib.Path) -> Outcome | Ended:
    """Reads what the components wrote, and keeps a copy of what people look at."""
    by_name = {c.name: c for c in components}
    decision = read_decision(by_name["RetrainingGate"].outputs["decision"].uri)
    ingest = _read(by_name["ExampleGen"], "report", "report.json")
    _save_quarantine(components, folder)
    live = versions.find_live(str(model_dir))
    if not decision.train:
        return Ended(run_id, decision, ingest, live.number if live else None)
    logs = pathlib.Path(by_name["Trainer"].outputs["model_run"].uri)
    shutil.copy(logs / "training_curves.png", folder)
    shutil.copy(logs / "history.json", folder)
    history = json.loads((logs / "history.json").read_text())
    pushed = by_name["Pusher"].outputs["pushed_model"].properties
    pushed_now = bool(pushed.get(NEW)) and not by_name["Pusher"].cached
    return Outcome(
        run_id=run_id,
        components=components,
        ingest=ingest,
        warnings=[w for gate in ("DataGate", "DriftGate") for w in _read(by_name[gate], "verdict", FILE)["warnings"]],
        embedding=_describe_embedding(by_name["Embedder"], by_name["Trainer"], history, folder.parents[1]),
        evaluation=_read(by_name["Evaluator"], "evaluation", SUMMARY_FILE),
        history=history,
        serving=_read_serving(by_name["ServingValidator"]),
        pushed_version=int(pushed[PUSHED_VERSION]) if pushed.get(PUSHED) else None,
        pushed_now=pushed_now,
        removed_versions=[] if by_name["Pusher"].cached else json.loads(pushed.get(REMOVED_VERSIONS, "[]")),
        canary=bool(pushed.get(CANARY)),
        held_back=json.loads(pushed.get(HELD_BACK, "null")),
        decision=dataclasses.asdict(decision),
        live_version=live.number if live else None,
        trained_model=str(_find_model(by_name["Trainer"]).relative_to(folder.parents[1])),
    )


def describe(outcome: Outcome | Ended) -> dict[str, Any]:
    """An outcome for the manifest, and for other programs."""
    if isinstance(outcome, Ended):
        return {
            "run_id": outcome.run_id,
            "ingest": outcome.ingest,
            "decision": dataclasses.asdict(outcome.decision),
            "live_version": outcome.live_version,
        }
    return {
        "run_id": outcome.run_id,
        "cached": [c.name for c in outcome.components if c.cached],
        "ingest": outcome.ingest,
        "warnings": outcome.warnings,
        "embedding": outcome.embedding,
        "evaluation": outcome.evaluation,
        "kept": outcome.history["kept"],
        "serving": outcome.serving,
        "pushed_version": outcome.pushed_version,
        "pushed_now": outcome.pushed_now,
        "canary": outcome.canary,
        "held_back": outcome.held_back,
        "removed_versions": outcome.removed_versions,
        "decision": outcome.decision,
        "live_version": outcome.live_version,
        "trained_model": outcome.trained_model,
    }


def _find_model(trainer: Finished) -> pathlib.Path:
    return pathlib.Path(path_utils.serving_model_path(trainer.outputs["model"].uri))


def _describe_embedding(
    embedder: Finished, trainer: Finished, history: dict[str, Any], workspace: pathlib.Path
) -> dict[str, Any]:
    """How many images there are, how many went through the base or its trunk now, and what of the store is used.

    The Trainer computes what was pruned from the store since the Embedder ran.
    """
    uri = embedder.outputs["embeddings"].uri
    report = EmbeddingReport.read(uri)
    return {
        "images": report.images,
        "computed": 0 if embedder.cached else report.computed,
        "trunk_computed": 0 if trainer.cached else history["trunk_computed"],
        "kinds": [kind.name for kind in (report.kind, report.trunk) if kind],
        "artifact": str(pathlib.Path(uri).relative_to(workspace)),
        "note": report.note,
    }


def _read_serving(validator: Finished) -> dict[str, Any] | None:
    uri = pathlib.Path(validator.outputs["infra_blessing"].uri)
    return _read(validator, "infra_blessing", VERDICT_FILE) if (uri / VERDICT_FILE).exists() else None


def _save_quarantine(components: list[Finished], folder: pathlib.Path) -> pathlib.Path | None:
    """Copies the list of files left out beside the manifest; None if there is none."""
    for component in components:
        if component.name == "ExampleGen":
            source = pathlib.Path(component.outputs["report"].uri) / QUARANTINE
            return pathlib.Path(shutil.copy(source, folder)) if source.stat().st_size else None
    return None


def _read(component: Finished, key: str, name: str) -> dict[str, Any]:
    return dict(json.loads((pathlib.Path(component.outputs[key].uri) / name).read_text(encoding="utf-8")))
