"""Collects for the page of a run what a run on this machine has in its workspace, from the artifacts of the tasks.

A run on Kubeflow has no manifest and no database that a task can read. Not here: seconds and memory of the tasks, which
Kubeflow shows itself, and the embeddings, which are too large to be copied for one number.
"""

import contextlib
import dataclasses
import datetime
import functools
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.records.decision import RetrainingDecision
from components.records.evaluation import EvaluationSummary
from components.records.gate_verdict import GateVerdict
from components.records.history import TrainingHistory
from components.records.image_figures import ImageFigures
from components.records.image_list import IMAGES, read_image_properties
from components.records.ingest import IngestSummary
from components.records.predictions import PREDICTIONS, VAL_BASELINE, Predictions, join_predictions, read_predictions
from components.records.push import PushOutcome
from components.records.quarantine import QUARANTINE, read_quarantine
from components.records.serving_verdict import ServingVerdict
from components.run_parameters import NOT_GIVEN, RunParameters
from pipeline.report.executions import Execution
from pipeline.report.sources import RunFiles, make_config, try_reading
from pipeline.workspace.manifest import RunManifest
from pipeline.workspace.workspace import Workspace
from serving.releases import versions
from serving.releases.record import RunConfig, RunResolved
from serving.storage.side_files import read_bytes

MOST_PROBABILITIES = 5_000_000  # images by classes; with more, the peak would exceed the 1 GiB that the task requests
_GATES = ("data_verdict", "drift_verdict")  # inputs of the RunPage
_UNSET = {"window_days": 0, "window_end": ""}  # values of run parameters that the configuration has as None


def gather(
    folders: Mapping[str, str],
    evaluation: EvaluationSummary,
    pushed: PushOutcome,
    record: Mapping[str, Any],
    parameters: Mapping[str, Any],
    run_id: str,
) -> RunFiles:
    """Reads the artifacts of a run.

    Args:
        folders: folder of each input of the RunPage, by key.
        evaluation: summary of the Evaluator.
        pushed: outcome of the Pusher.
        record: configuration and resolved properties, as the Pusher has them for the record of a version.
        parameters: run parameters by name.
        run_id: id of the run.
    """
    problems: list[str] = []
    report, logs = (pathlib.Path(folders[key]) for key in ("report", "model_run"))
    read = functools.partial(try_reading, problems)
    ingest, history = IngestSummary.read(str(report)), TrainingHistory.read(str(logs))
    manifest = RunManifest(
        run_id=run_id,
        config=fill_config(record["config"], parameters, ingest.window_end),
        resolved=RunResolved(**record["resolved"] | {"baseline": _name_baseline(evaluation)}),
        cached=[],
        ingest=ingest,
        warnings=[text for gate in _GATES for text in GateVerdict.read(folders[gate]).warnings],
        evaluation=evaluation,
        kept=history.kept,
        serving=ServingVerdict.find(folders["infra_blessing"]),
        pushed_version=pushed.version,
        pushed_now=pushed.new,
        canary=pushed.canary,
        held_back=pushed.held_back,
        removed_versions=pushed.removed_versions,
        decision=RetrainingDecision.read(folders["decision"]),
        live_version=_try_store(lambda: _find_live_number(parameters["model_dir"])),
        seconds={},
    )
    return RunFiles(
        workspace=Workspace(logs.parent),
        run_id=run_id,
        manifest=manifest,
        config=make_config(manifest),
        decision=manifest.decision,
        ingest=ingest,
        figures=read(ImageFigures.FILE, lambda: ImageFigures.read(str(report)), report),
        properties=read(IMAGES, lambda: read_image_properties(str(report / IMAGES)), report),
        history=history,
        predictions=_read_predictions(folders, problems),
        left_out=read(QUARANTINE, lambda: read_quarantine(str(report)), report) or [],
        executions=[Execution("StatisticsGen", "run", {"statistics": folders["statistics"]})],
        pushed=None,
        live=_try_store(lambda: _find_version(parameters["model_dir"], evaluation)),
        card=_try_store(lambda: _read_card(pushed)) or "",
        problems=problems,
    )


def fill_config(config: Mapping[str, Any], parameters: Mapping[str, Any], window_end: str) -> RunConfig:
    """Replaces the defaults of the run parameters in a configuration by the values of a run.

    Args:
        config: configuration of the compiled pipeline.
        parameters: run parameters by name.
        window_end: newest date folder that the run was to read, or "".
    """
    names = [field.name for field in dataclasses.fields(RunParameters) if field.name in config]
    values = {name: parameters[name] for name in names} | {"window_end": _as_date(window_end)}
    unset = {name for name, value in values.items() if value in (NOT_GIVEN, _UNSET.get(name, NOT_GIVEN))}
    return RunConfig(**dict(config) | values | dict.fromkeys(unset) | {"force": bool(parameters["force"])})


def _as_date(text: str) -> str:
    """Returns a date, or "" for another text: a folder may have any name."""
    with contextlib.suppress(ValueError):
        return datetime.date.fromisoformat(text).isoformat()
    return ""


def _name_baseline(evaluation: EvaluationSummary) -> str:
    """Returns the live version's identity without its digest, for which the whole model would be read."""
    return f"{evaluation.baseline.version}:" if evaluation.baseline else versions.NOT_LIVE


def _find_version(model_dir: str, evaluation: EvaluationSummary) -> versions.Version | None:
    if evaluation.baseline is None:
        return None
    found = versions.find_versions(model_dir) + versions.find_withdrawn(model_dir)
    return next((version for version in found if version.number == evaluation.baseline.version), None)


def _find_live_number(model_dir: str) -> int | None:
    live = versions.find_live(model_dir)
    return live.number if live else None


def _read_card(pushed: PushOutcome) -> str:
    content = read_bytes(os.path.join(pushed.path, versions.CARD)) if pushed.path else None
    return content.decode("utf-8", "replace") if content else ""


def _try_store(read: Callable[[], Any]) -> Any:
    """Reads from the serving folder; returns None if that fails, because the model is pushed by then."""
    try:
        return read()
    except Exception:  # each store has its own errors
        logging.exception("RunPage: the serving folder cannot be read; the page lacks what is there")
        return None


def _read_predictions(folders: Mapping[str, str], problems: list[str]) -> Predictions | None:
    """Reads the predictions of `test` and `val`; returns None for damaged ones, and for more than fit the memory."""
    test, val, before = (
        os.path.join(folders[key], name)
        for key, name in (("evaluation", PREDICTIONS), ("model_run", PREDICTIONS), ("evaluation", VAL_BASELINE))
    )
    if _count_probabilities(test, val) > MOST_PROBABILITIES:
        problems.append(f"{PREDICTIONS} has more than {MOST_PROBABILITIES:,} probabilities, too many for this page")
        return None

    def join() -> Predictions:
        of_val = read_predictions(val)
        aligned = of_val.align_baseline(read_predictions(before)) if os.path.exists(before) else of_val
        return join_predictions([read_predictions(test), aligned])

    return try_reading(problems, PREDICTIONS, join, pathlib.Path(folders["evaluation"]))


def _count_probabilities(*paths: str) -> int:
    """Counts the probabilities in Parquet files, from their footers."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError, pa.ArrowException), pq.ParquetFile(path) as file:
            columns = file.metadata.row_group(0) if file.metadata.num_row_groups else None
            if columns:
                per_row = max(columns.column(i).num_values for i in range(columns.num_columns)) / columns.num_rows
                total += int(file.metadata.num_rows * per_row)
    return total
