"""Finds the two runs of a comparison by the words that a user types, and reads their files."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from components.records.evaluation import EvaluationSummary
from components.records.image_list import IMAGES, ListedImage, read_image_list
from components.records.predictions import PREDICTIONS, Predictions, read_predictions
from pipeline.runs.find import find_run
from pipeline.runs.run_list import describe_outcome
from pipeline.workspace.manifest import RunManifest, is_cut_off
from pipeline.workspace.pushed_models import find_pushed, read_evaluation
from pipeline.workspace.workspace import Workspace, find_start
from schema.errors import UsageError
from schema.text import printable
from serving.releases.record import RunConfig, RunResolved
from serving.releases.versions import Version
from serving.storage.documents import DocumentError

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Side:
    """Run of a comparison, or a version whose run is gone; None or empty for what is unknown.

    Attributes:
        run_id: id of the run; None if its folder is gone.
        version: number of the pushed version.
        begun: start of the run, in UTC and ISO 8601.
        outcome: outcome in one or two words.
        config: configuration of the run.
        resolved: digests of the run.
        counts: number of images by split and class.
        evaluation: the Evaluator's summary.
        manifest: manifest of the run.
        images: images of all splits.
        predictions: predictions of the images of val and test.
        problems: a sentence for each damaged file.
    """

    run_id: str | None
    version: int | None
    begun: str | None
    outcome: str
    config: RunConfig
    resolved: RunResolved
    counts: dict[str, dict[str, int]]
    evaluation: EvaluationSummary | None
    manifest: RunManifest | None
    images: list[ListedImage] | None
    predictions: Predictions | None
    problems: list[str]

    @property
    def name(self) -> str:
        """Name in texts."""
        if self.version is not None:
            return f"version {self.version}"
        return f"run {self.run_id}"


def find_side(workspace: Workspace, text: str, model: str | None) -> Side:
    """Finds a run or a version, and reads its files.

    Args:
        workspace: workspace of the runs.
        text: id of a run or its folder; or the number of a version, with or without a "v" before it.
        model: name of the model of a version; None for the only one.
    Raises:
        UsageError: if there is no such run or version.
    """
    found = find_run(workspace, text, model)
    if isinstance(found, Version):
        return _read_version(found)
    run_id, version = found
    problems: list[str] = []
    folder = workspace.runs / run_id
    manifest = _try(problems, folder, RunManifest.FILE, lambda: RunManifest.read(str(folder)))
    damaged = bool(problems)
    if manifest is None and not damaged:
        problems.append(f"{run_id}: has no {RunManifest.FILE}: the run has not ended, or its process was killed.")
    predictions = _try(problems, folder, PREDICTIONS, lambda: read_predictions(str(folder / PREDICTIONS)))
    images = _try(problems, folder, IMAGES, lambda: read_image_list(str(folder / IMAGES)))
    start = find_start(run_id)
    made = find_pushed(workspace, run_id) if is_cut_off(manifest) and not damaged else None
    version = version or made
    number = version.number if version else manifest.pushed_version if manifest else None
    return Side(
        run_id=run_id,
        version=number,
        begun=start.isoformat(timespec="seconds") if start else None,
        outcome=describe_outcome(manifest, damaged, made),
        config=manifest.config if manifest else RunConfig(),
        resolved=manifest.resolved if manifest else RunResolved(),
        counts=manifest.ingest.counts if manifest and manifest.ingest else _count(images or []),
        evaluation=read_evaluation(made) if made else manifest.evaluation if manifest else None,
        manifest=manifest,
        images=images,
        predictions=predictions,
        problems=problems,
    )


def _try(problems: list[str], folder: pathlib.Path, name: str, read: Callable[[], _Value]) -> _Value | None:
    """Reads a file; returns None for a missing file, and for a damaged one, which is added to `problems`."""
    try:
        if not os.path.lexists(folder / name):
            return None
        if not (folder / name).is_file():  # opening a pipe would block
            raise DocumentError("it is no regular file")
        return read()
    except (DocumentError, OSError) as error:
        reason = str(error).removeprefix(printable(f"{folder / name}: "))
        problems.append(f"{folder.name}/{name} cannot be read: {printable(reason)}.")
        return None


def _count(images: Iterable[ListedImage]) -> dict[str, dict[str, int]]:
    """Counts images by split and class; the manifest of a run that failed has no counts."""
    counts: dict[str, dict[str, int]] = {}
    for image in images:
        by_class = counts.setdefault(image.split, {})
        by_class[image.label] = by_class.get(image.label, 0) + 1
    return counts


def _read_version(version: Version) -> Side:
    """Reads the record of a version whose run is gone."""
    record = version.record
    if version.problem:
        raise UsageError(
            f"version {version.number}: its record cannot be read ({version.problem}), and its run is unknown. "
            "Name the run: ./graft runs lists them."
        )
    if not record.request_key:
        raise UsageError(f"version {version.number}: Graft did not push it, so its origin is unknown. Name another.")
    gone = f"The run of version {version.number}, {record.run_id}, is gone: its record has no images and predictions."
    return Side(
        run_id=None,
        version=version.number,
        begun=None,
        outcome="pushed",
        config=record.config,
        resolved=record.resolved,
        counts=record.counts,
        evaluation=read_evaluation(version),
        manifest=None,
        images=None,
        predictions=None,
        problems=[gone],
    )
