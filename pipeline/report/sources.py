"""Reads the files of a run: its folder, its artifacts, and the version that was live at its start."""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

import pydantic

from components.evaluator.answers import Answers, select
from components.records.decision import RetrainingDecision
from components.records.history import TrainingHistory
from components.records.image_figures import ImageFigures
from components.records.image_list import IMAGES, ImageProperties, read_image_properties
from components.records.ingest import IngestSummary
from components.records.predictions import PREDICTIONS, Predictions, read_predictions
from components.records.quarantine import QUARANTINE, LeftOut, read_quarantine
from pipeline.config.config import Config
from pipeline.report import executions
from pipeline.report.executions import Execution
from pipeline.workspace.manifest import RunManifest, is_cut_off
from pipeline.workspace.pushed_models import find_pushed
from pipeline.workspace.workspace import Workspace
from serving.releases import versions
from serving.storage.gfile import is_remote

CARD = os.path.basename(versions.CARD)
_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Contents of the files of a run; None or empty for a file that is missing or damaged.

    Attributes:
        workspace: workspace of the run.
        run_id: name of the run's folder below `runs/`.
        manifest: manifest; None as well if the run has not ended.
        config: configuration in this version's format; None as well if it does not fit the format.
        decision: decision of the RetrainingGate.
        ingest: counts of ExampleGen.
        figures: figures of the kept images.
        properties: size, brightness and orientation of the kept images.
        history: history of the training.
        predictions: predictions of the images of `val` and `test`.
        left_out: files that ingest left out.
        executions: executions of the started components, in the order of their start.
        pushed: version that the run pushed before it was cut off; None for a run that was not.
        live: version that was live at the start of the run; None if there was none, or it was removed.
        card: text of the model card, or "".
        problems: a clause for each damaged file.
    """

    workspace: Workspace
    run_id: str
    manifest: RunManifest | None
    config: Config | None
    decision: RetrainingDecision | None
    ingest: IngestSummary | None
    figures: ImageFigures | None
    properties: ImageProperties | None
    history: TrainingHistory | None
    predictions: Predictions | None
    left_out: list[LeftOut]
    executions: list[Execution]
    pushed: versions.Version | None
    live: versions.Version | None
    card: str
    problems: list[str]

    @property
    def live_number(self) -> int | None:
        """Number of the version that was live at the start of the run; None for none, or without a manifest."""
        return _parse_baseline(self.manifest)

    @property
    def model_name(self) -> str:
        """Name of the model's folder below `serving/`."""
        return _find_model_name(self.manifest)

    @functools.cached_property
    def answers(self) -> Answers | None:
        """Predicted classes of the test images; None if the predictions are missing."""
        return select(self.predictions) if self.predictions else None

    @property
    def images(self) -> str:
        """Folder of the images; "" if it is remote or unknown."""
        data = self.manifest.config.data if self.manifest else ""
        return "" if is_remote(data) else data

    def find_output(self, component: str, key: str) -> str:
        """Returns the folder of an output; "" if it is missing."""
        uris = [e.outputs[key] for e in self.executions if e.name == component and key in e.outputs]
        return uris[0] if uris and os.path.isdir(uris[0]) else ""


def gather(workspace: Workspace, run_id: str) -> RunFiles:
    """Reads the files of a run; names damaged ones in `problems`."""
    folder = workspace.runs / run_id
    problems: list[str] = []
    read = functools.partial(try_reading, problems)
    manifest = read("manifest.json", lambda: RunManifest.read(str(folder)), folder)
    pushed = find_pushed(workspace, run_id) if is_cut_off(manifest) and not problems else None
    begun = read("metadata.sqlite", lambda: executions.find_executions(workspace, run_id), workspace.root) or []
    outputs = {key: uri for execution in begun for key, uri in execution.outputs.items()}
    report = pathlib.Path(outputs.get("report", folder))
    decided = pathlib.Path(outputs.get("decision", folder))
    ingest, decision = (manifest.ingest, manifest.decision) if manifest else (None, None)
    left_out = folder if (folder / QUARANTINE).is_file() else report
    listed = folder if (folder / IMAGES).is_file() else report
    return RunFiles(
        workspace=workspace,
        run_id=run_id,
        manifest=manifest,
        config=make_config(manifest),
        decision=decision or read(RetrainingDecision.FILE, lambda: RetrainingDecision.read(str(decided)), decided),
        ingest=ingest or read(IngestSummary.FILE, lambda: IngestSummary.read(str(report)), report),
        figures=read(ImageFigures.FILE, lambda: ImageFigures.read(str(report)), report),
        properties=read(IMAGES, lambda: read_image_properties(str(listed / IMAGES)), listed),
        history=read(TrainingHistory.FILE, lambda: TrainingHistory.read(str(folder)), folder),
        predictions=read(PREDICTIONS, lambda: read_predictions(str(folder / PREDICTIONS)), folder),
        left_out=read(QUARANTINE, lambda: read_quarantine(str(left_out)), left_out) or [],
        executions=begun,
        pushed=pushed,
        live=_find_live(workspace, manifest),
        card=read(CARD, lambda: (folder / CARD).read_text(encoding="utf-8"), folder) or "",
        problems=problems,
    )


def try_reading(problems: list[str], name: str, read: Callable[[], _Value], folder: pathlib.Path) -> _Value | None:
    """Reads a file; returns None for a missing file, and for a damaged one, which is added to `problems`."""
    if not (folder / name).is_file():
        return None
    try:
        return read()
    except Exception as error:  # each format has its own errors, and the page shows the other files
        logging.warning("report: %s: %r", folder / name, error)
        problems.append(f"{name} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
        return None


def make_config(manifest: RunManifest | None) -> Config | None:
    """Reads the configuration; returns None if another version of Graft wrote other keys."""
    if manifest is None:
        return None
    with contextlib.suppress(pydantic.ValidationError):
        # Graft 0.2.0 had no such key, and ignored the orientation.
        return Config.model_validate({"orientation": "ignore"} | manifest.config.model_dump(exclude_unset=True))
    return None


def _parse_baseline(manifest: RunManifest | None) -> int | None:
    identity = manifest.resolved.baseline if manifest else None
    number = (identity or "").partition(":")[0]
    return int(number) if number.isdecimal() else None


def _find_model_name(manifest: RunManifest | None) -> str:
    return str((manifest.config.model_extra or {}).get("model_name", "graft")) if manifest else "graft"


def _find_live(workspace: Workspace, manifest: RunManifest | None) -> versions.Version | None:
    """Finds the version by its number; a comparison of digests would read the whole model."""
    number = _parse_baseline(manifest)
    if manifest is None or number is None:
        return None
    model_dir = str(workspace.model_dir(_find_model_name(manifest)))
    with contextlib.suppress(OSError):
        found = versions.find_versions(model_dir) + versions.find_withdrawn(model_dir)
        return next((version for version in found if version.number == number), None)
    return None
