"""Writes `runs/<run id>/report.html`: one file without scripts and network requests."""

import logging
import pathlib
from typing import Any

from components.records.image_figures import QUANTILES
from pipeline.report import accuracy, data, sections
from pipeline.report.environment import list_paths, make_environment
from pipeline.report.outcome import find_outcome
from pipeline.report.sources import RunFiles, gather
from pipeline.report.thumbnails import Thumbnails
from pipeline.workspace.workspace import PAGE, Workspace, find_start
from schema.version import VERSION
from serving.storage.whole_files import write_whole

TITLES = {
    "changes": "What changed",
    "accuracy": "Accuracy",
    "confusion": "Confusion",
    "reliability": "Reliability",
    "mistakes": "Mistakes",
    "training": "Training",
    "data": "Data",
    "components": "Time and memory",
    "settings": "Configuration",
    "card": "Model card",
}
_MEGAPIXELS = 100.0  # limit for a run whose configuration cannot be read


def write_report(workspace: Workspace, run_id: str) -> pathlib.Path:
    """Writes the page of a run, whether it pushed, was refused, ended early or failed.

    Args:
        workspace: workspace of the run.
        run_id: name of its folder below `runs/`.
    Returns:
        Path of the page.
    Raises:
        OSError: if the page cannot be written.
    """
    target = workspace.runs / run_id / PAGE
    page = render(gather(workspace, run_id))
    with write_whole(str(target)) as path:
        pathlib.Path(path).write_text(page, encoding="utf-8")
    return target


def try_to_write_report(workspace: Workspace, run_id: str) -> None:
    """Writes the page of a run that has just ended; logs an error, so that it does not end the run."""
    try:
        write_report(workspace, run_id)
    except Exception:
        logging.exception("report: the page of the run %s could not be written", run_id)


def render(files: RunFiles) -> str:
    """Returns the HTML of a page."""
    config = files.config
    thumbnails = Thumbnails(
        files.images,
        config.max_megapixels if config else _MEGAPIXELS,
        upright=not config or config.orientation == "exif",
    )
    parts: dict[str, Any] = {
        "changes": sections.describe_changes(files),
        "accuracy": accuracy.describe_accuracy(files),
        "confusion": accuracy.describe_confusion(files),
        "reliability": accuracy.describe_reliability(files),
        "mistakes": accuracy.describe_pictures(files, thumbnails),
        "training": sections.describe_training(files),
        "data": data.describe_data(files, thumbnails),
        "components": sections.describe_components(files),
        "settings": sections.describe_settings(files),
        "card": sections.describe_card(files),
    }
    told = {name: bool(part) and not (name == "changes" and part["problem"]) for name, part in parts.items()}
    context: dict[str, Any] = {
        "parts": sorted(parts, key=lambda name: not told[name]),  # empty parts come last
        "files": files,
        "manifest": files.manifest,
        "outcome": find_outcome(files),
        "when": find_start(files.run_id),
        "version": VERSION,
        "part_has": told,
        "titles": TITLES,
        "quantiles": QUANTILES,
        "identity": sections.describe_identity(files),
        **parts,
    }
    environment = make_environment(list_paths(files.workspace, files.manifest))
    return environment.get_template("page.html").render(context)
