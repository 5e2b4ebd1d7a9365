"""Finds, lists and locks the pushed models of a workspace, for `./graft releases`. Imports no TensorFlow."""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from components.records.evaluation import EvaluationSummary
from pipeline.console.listing import print_list
from pipeline.console.printing import print_plain
from pipeline.workspace.workspace import Workspace, describe_last_run, open_workspace
from schema.errors import UsageError
from schema.text import printable
from serving.releases import models_config, releases, versions
from serving.releases.models_config import CANARY, STABLE
from serving.releases.record import describe_classes
from serving.releases.versions import Version
from serving.storage.documents import DocumentError
from serving.storage.listing import measure

_END_IT = "end it (Ctrl-C there; the same command continues later after the finished components) and type this again"
_EARLIEST = 1_400_000_000  # seconds since 1970; a smaller version number is no time


@dataclasses.dataclass(frozen=True)
class Listed:
    """Row of a version in the list.

    Attributes:
        version: number of the version.
        state: "live", "canary", "older" or "withdrawn".
        pushed_at: time of the push, in UTC and ISO 8601; None if it is unknown.
        accuracy: accuracy on the test images of the run, 0 to 1; None if it is unknown.
        run_id: run that made the version; None if it is unknown.
        bytes: size of the files in bytes.
        path: folder of the version.
        problem: reason why the record cannot be read, or None.
    """

    version: int
    state: str
    pushed_at: str | None
    accuracy: float | None
    run_id: str | None
    bytes: int
    path: str
    problem: str | None


@contextlib.contextmanager
def change(out: str, model: str | None) -> Iterator[str]:
    """Locks a workspace for a change of the live version; yields the folder of the model.

    Args:
        out: folder of the workspace.
        model: name of the model; None for the only one.
    Raises:
        UsageError: if there is no such model.
        GraftError: if a run is active there.
    """
    find_model_dir(out, model)  # first, so that no workspace is made for a wrong path
    with open_workspace(out, _END_IT):
        yield find_model_dir(out, model)


def find_model_dir(out: str, model: str | None) -> str:
    """Returns the folder of the named model; without a name, the folder of the only model.

    Raises:
        UsageError: if there is no such model, or more than one and no name.
    """
    serving = Workspace(pathlib.Path(out)).model_dir("")
    folders = sorted(path for path in serving.glob("*") if path.is_dir() and _has_versions(str(path)))
    names = [path.name for path in folders]
    if not names:
        raise versions.make_empty_error(out, describe_last_run(out))
    if model is None and len(names) > 1:
        raise UsageError(f"{out}: more than one model here. Name one with --model: {', '.join(names)}.")
    if model is not None and model not in names:
        raise UsageError(f"{out}: no model {model!r} here. There is: {', '.join(names)}.")
    return str(serving / (model or names[0]))


def read_number(version: str, model_dir: str) -> int:
    """Parses a version that the user gives as a number or as a folder, as `rollback` prints it.

    Raises:
        UsageError: if the text is neither, or names a folder of another model.
    """
    folder, name = os.path.split(version.rstrip("/"))
    number = versions.parse_number(name.removeprefix(versions.WITHDRAWN))
    if number is None or (folder and os.path.realpath(folder) != os.path.realpath(model_dir)):
        raise UsageError(
            f"VERSION: expected a number, or a folder in {model_dir} such as {versions.WITHDRAWN}1795612102; "
            f"got {version!r}. The largest number is {versions.LARGEST}."
        )
    return number


def print_releases(model_dir: str, console: Console) -> None:
    """Prints a row for each version, newest first, and the labels; on a narrow terminal, two lines per version."""
    rows = describe(model_dir)
    print_plain(console, model_dir)
    print_list(console, _make_table(rows), map(_write_lines, rows))
    print_plain(console, _describe_labels(model_dir))
    for line in _describe_damage(model_dir):
        print_plain(console, line)
    if too_large := versions.describe_too_large(model_dir):
        print_plain(console, too_large.strip())


def color_state(state: str) -> str:
    """Returns the state of a version in rich's markup."""
    return {"live": "[green]live[/]", "canary": "[yellow]canary[/]"}.get(state, state)


def _make_table(rows: list[Listed]) -> Table:
    """Makes a row for each version; one space between columns, for 80 characters are few."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("version", "state", "pushed (UTC)", "accuracy", "run", "size"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("version", "accuracy", "size") else "left")
    for row in rows:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
        run = escape(printable(row.run_id or ""))
        cells = (str(row.version), color_state(row.state), escape(_write_time(row)), accuracy, run, decimal(row.bytes))
        table.add_row(*cells)
    return table


def _write_lines(row: Listed) -> list[str]:
    """Returns the version with state and time in markup, and a line of accuracy, size and run."""
    pushed = f"  pushed {_write_time(row)} UTC" if row.pushed_at else ""
    accuracy = "" if row.accuracy is None else f"accuracy {row.accuracy:.3f}"
    run = f"run {row.run_id}" if row.run_id else ""
    head = f"[bold]{row.version}[/]  {color_state(row.state)}{escape(pushed)}"
    return [head, ", ".join(filter(None, [accuracy, decimal(row.bytes), run]))]


def _write_time(row: Listed) -> str:
    return printable((row.pushed_at or "").replace("T", " ")[:16])


def render_json(model_dir: str) -> str:
    """Renders labels and versions as one JSON object."""
    labels = models_config.read_labels(model_dir)
    rows = [vars(row) for row in describe(model_dir)]
    value = {"model": os.path.basename(model_dir), "labels": labels, "versions": rows}
    return json.dumps(value, indent=1, ensure_ascii=False)


def describe(model_dir: str) -> list[Listed]:
    """Describes each version, newest first."""
    return [_describe(version, state) for version, state in list_states(model_dir)]


def list_states(model_dir: str) -> list[tuple[Version, str]]:
    """Returns the versions of a model, newest first, with their states: "live", "canary", "older" or "withdrawn"."""
    found = releases.read(model_dir)
    states = {v.path: "older" for v in found.numbered} | {v.path: "withdrawn" for v in found.withdrawn}
    states |= {v.path: state for state, v in (("canary", found.canary), ("live", found.live)) if v}
    newest_first = sorted([*found.numbered, *found.withdrawn], key=lambda version: -version.number)
    return [(version, states[version.path]) for version in newest_first]


def describe_run_model(workspace: Workspace, run_id: str) -> str:
    """Returns a line with run, version and workspace of the model that a run trained, and its classes."""
    version, manifest = find_pushed(workspace, run_id), workspace.read_manifest(run_id)
    pushed = (
        f"pushed as {pathlib.Path(version.path).parent.name}, version {version.number}" if version else "not pushed"
    )
    classes = describe_classes((manifest and manifest.resolved.classes) or [])
    return f"Model: run {run_id}, {pushed}, of the workspace {workspace.root}{classes}"


def list_all_states(workspace: Workspace) -> list[tuple[Version, str]]:
    """Returns the versions of all models of a workspace with their states, as `list_states` does."""
    folders = sorted(path for path in workspace.model_dir("").glob("*") if path.is_dir())
    return [row for folder in folders for row in list_states(str(folder))]


def find_pushed(workspace: Workspace, run_id: str) -> Version | None:
    """Returns the version that a run pushed, by the Pusher's record; None without one, or if the version is gone."""
    return next((version for version, _ in list_all_states(workspace) if version.record.run_id == run_id), None)


def read_evaluation(version: Version) -> EvaluationSummary | None:
    """Returns the Evaluator's summary in the record of a version; None if it is missing or of another format."""
    with contextlib.suppress(DocumentError):
        return EvaluationSummary.parse(version.record.metrics.model_dump(mode="json"), "metrics")
    return None


def describe_state(model_dir: str, before: Mapping[str, int] | None = None) -> list[str]:
    """Returns lines with the folders of the live version and of the canary, and with their numbers before a change.

    Args:
        model_dir: folder of the model.
        before: version numbers by label before the change; None for a change of neither.
    """
    found = releases.read(model_dir)
    lines = [f"Live:      {found.live.path}"] if found.live else []
    lines += [f"Canary:    {found.canary.path}"] if found.canary else []
    if before:
        canary = f", version {before[CANARY]} the canary" if CANARY in before else ""
        lines.append(f"Before:    version {before[STABLE]} was live{canary}")
    return lines


def _describe(version: Version, state: str) -> Listed:
    return Listed(
        version=version.number,
        state=state,
        pushed_at=version.record.pushed_at or _read_time(version.number),
        accuracy=version.record.metrics.accuracy,
        run_id=version.record.run_id,
        bytes=measure(version.path),
        path=version.path,
        problem=version.problem or None,
    )


def _describe_damage(model_dir: str) -> list[str]:
    """Returns a line for each version whose record cannot be read, with the reason."""
    found = releases.read(model_dir)
    return [
        f"{printable(version.path)}/{versions.RECORD}: {version.problem}. The version is served, and can be rolled "
        "back and promoted; no model is compared with it."
        for version in [*found.numbered, *found.withdrawn]
        if version.problem
    ]


def _read_time(number: int) -> str | None:
    """Returns the time that a version number stands for, in ISO 8601; None if it is no time of a push."""
    now = datetime.datetime.now(datetime.timezone.utc)
    if not _EARLIEST <= number <= now.timestamp():
        return None
    return datetime.datetime.fromtimestamp(number, datetime.timezone.utc).isoformat(timespec="seconds")


def _describe_labels(model_dir: str) -> str:
    """Describes the labels in models.config, with a note if they are out of date."""
    path, wanted = models_config.find_file(model_dir), releases.read(model_dir).labels
    written = models_config.read_labels(model_dir)
    labels = ", ".join(f"{label} is {number}" for label, number in sorted(written.items())) or "no labels"
    ours = {label: number for label, number in written.items() if label in (STABLE, CANARY)}
    late = "" if ours == wanted else "; the next push, rollback, promote or keep brings it up to date"
    return f"{path}: {labels}{late}"


def _has_versions(model_dir: str) -> bool:
    return bool(versions.find_versions(model_dir) or versions.find_withdrawn(model_dir))
