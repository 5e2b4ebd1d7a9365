"""Writes `runs/<run id>/report.html`: one file without scripts and network requests."""

import datetime
import functools
import logging
import pathlib
import re
from typing import Any

import jinja2

from components.records.image_figures import QUANTILES
from pipeline.report import accuracy, data, sections
from pipeline.report.outcome import WORKSPACE, find_outcome
from pipeline.report.sources import RunFiles, gather
from pipeline.report.thumbnails import Thumbnails
from pipeline.workspace.workspace import Workspace
from schema.text import printable_lines
from schema.version import VERSION
from serving.storage.whole_files import write_whole

FILE = "report.html"
TITLES = {
    "changes": "What changed",
    "accuracy": "Accuracy",
    "confusion": "Confusion",
    "reliability": "Reliability",
    "mistakes": "Mistakes",
    "training": "Training",
    "data": "Data",
    "components": "Time",
    "settings": "Configuration",
}
_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_MEGAPIXELS = 100.0  # limit for a run whose configuration cannot be read
_NONE = "\N{EN DASH}"  # replaces an unknown figure
_RUN_ID = re.compile(r"(\d{8}T\d{6})-\d+Z-")


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
    target = workspace.runs / run_id / FILE
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
    }
    context: dict[str, Any] = {
        "parts": sorted(parts, key=lambda name: not parts[name]),  # empty parts come last
        "files": files,
        "manifest": files.manifest,
        "outcome": find_outcome(files),
        "when": _read_time(files.run_id),
        "version": VERSION,
        "part_has": {name: bool(part) for name, part in parts.items()},
        "titles": TITLES,
        "quantiles": QUANTILES,
        "identity": sections.describe_identity(files),
        **parts,
    }
    return _make_environment(files).get_template("page.html").render(context)


def _read_time(run_id: str) -> datetime.datetime | None:
    """Reads the start of a run, in UTC, from its id; None for an id of Graft 0.2."""
    found = _RUN_ID.match(run_id)
    return datetime.datetime.strptime(found[1], "%Y%m%dT%H%M%S") if found else None


def _make_environment(files: RunFiles) -> jinja2.Environment:
    """Builds the environment of the templates, which makes each text printable and escapes it for HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=functools.partial(_finalize, _list_paths(files)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"percent": _percent, "count": _count, "counted": _counted, "duration": _duration, "figure": _figure}
    environment.filters |= filters
    return environment


def _list_paths(files: RunFiles) -> dict[str, str]:
    """Returns absolute paths that texts may have, with their replacements in the page, the longest path first."""
    config = files.manifest.config.model_dump() if files.manifest else {}
    names = {str(files.workspace.root): WORKSPACE}
    for key in ("data", "weights", "out"):
        path = config.get(key)
        if isinstance(path, str) and path.startswith("/") and len(path.rstrip("/")) > 1:
            names.setdefault(path.rstrip("/"), WORKSPACE if key == "out" else pathlib.PurePath(path).name)
    return dict(sorted(names.items(), key=lambda item: -len(item[0])))


def _finalize(paths: dict[str, str], value: Any) -> Any:
    if value is None:
        return ""
    if type(value) is not str:  # numbers, and Markup, which is HTML already
        return value
    for path, name in paths.items():
        value = value.replace(path, name)
    return printable_lines(value)


def _percent(share: float | None, digits: int = 1) -> str:
    return _NONE if share is None else f"{share:.{digits}%}".replace("%", " %")


def _figure(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _count(number: float | None) -> str:
    return _NONE if number is None else f"{number:,.0f}"


def _counted(number: int, one: str, several: str) -> str:
    return f"{_count(number)} {one if number == 1 else several}"


def _duration(seconds: float) -> str:
    """Renders a duration as "41.3 s", "12 min 5 s" or "3 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
