"""Lists the runs of a workspace: start, outcome, accuracy, images, time, version."""

import dataclasses
import datetime
import os

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.records.push import SUPERSEDED
from components.records.run_list import ListedRun, RunList
from pipeline.console.listing import print_list
from pipeline.console.printing import print_plain
from pipeline.report.formats import write_duration
from pipeline.runs.find import list_or_refuse
from pipeline.workspace.manifest import RunManifest, is_cut_off, is_interruption, read_failure
from pipeline.workspace.pushed_models import color_state, list_all_states, read_evaluation
from pipeline.workspace.workspace import PAGE, Workspace, find_start
from schema.text import printable
from serving.releases.versions import Version
from serving.storage.documents import DocumentError

NOT_ENDED, RUNNING, DAMAGED, LIVE_ALREADY = "not ended", "running", "damaged", "live already"
REMOVED = "removed"  # state of a version whose folder is gone
_COLOURS = {"pushed": "green", LIVE_ALREADY: "green", "canary": "yellow", "not pushed": "red", "failed": "red"}


@dataclasses.dataclass(frozen=True)
class _States:
    """Versions of a workspace now, with their states.

    Attributes:
        by_run: version and state by the id of the run that made the version.
        by_number: version and state by number, also by the number that the version had before a promotion.
    """

    by_run: dict[str, tuple[Version, str]]
    by_number: dict[int, tuple[Version, str]]

    def find(self, run_id: str, pushed: int | None) -> tuple[int | None, str]:
        """Returns number and state of a run's version now.

        Args:
            run_id: id of the run.
            pushed: number that the version had at the end of the run; None without one.
        """
        found = self.by_run.get(run_id) or (None if pushed is None else self.by_number.get(pushed))
        if found:
            return found[0].number, found[1]
        return None, "" if pushed is None else REMOVED


def list_runs(workspace: Workspace, limit: int) -> RunList:
    """Lists the newest runs of a workspace, newest first.

    Raises:
        UsageError: if the workspace has no run.
    """
    newest = list_or_refuse(workspace)[::-1]
    states = _find_states(workspace)
    shown = [_describe(workspace, run_id, states) for run_id in newest[:limit]]
    running = workspace.find_running()
    shown = [
        run.model_copy(update={"outcome": RUNNING, "reason": ""}) if run.run_id == running else run for run in shown
    ]
    return RunList(runs=shown, more=len(newest) - len(shown))


def print_runs(runs: RunList, console: Console) -> None:
    """Prints a row for each run; on a narrow terminal, two or three lines."""
    print_list(console, _make_table(runs), map(_write_lines, runs.runs))
    if runs.more:
        print_plain(console, f"{runs.more:,} older: --limit {len(runs.runs) + runs.more} lists them all.")


def describe_outcome(manifest: RunManifest | None, damaged: bool = False, pushed: Version | None = None) -> str:
    """Returns the outcome of a run in one or two words, as its page does, in lower case.

    Args:
        manifest: manifest of the run; None if it is missing or damaged.
        damaged: whether the manifest is damaged.
        pushed: version that the run pushed before it was cut off; None for any other run.
    """
    if pushed:
        return "canary" if pushed.record.canary else "pushed"
    if manifest is None:
        return DAMAGED if damaged else NOT_ENDED
    if manifest.failed is not None:
        return "interrupted" if is_interruption(manifest.failed) else "failed"
    if manifest.evaluation is None:
        return "ended early"
    if manifest.is_refused:
        return "not pushed"
    return "canary" if manifest.canary else "pushed" if manifest.pushed_now else LIVE_ALREADY


def _describe(workspace: Workspace, run_id: str, states: _States) -> ListedRun:
    folder = workspace.runs / run_id
    manifest, problem = None, ""
    try:
        manifest = RunManifest.find(str(folder))
    except (DocumentError, OSError) as error:
        problem = str(error).removeprefix(printable(f"{folder}/"))
    pushed = None if problem or not is_cut_off(manifest) else states.by_run.get(run_id, (None, ""))[0]
    if pushed:  # the Pusher's record is all that such a run has told of its result
        evaluation, number, counts = read_evaluation(pushed), pushed.record.pushed_version, pushed.record.counts
    else:
        evaluation, number = (manifest.evaluation, manifest.pushed_version) if manifest else (None, None)
        counts = manifest.ingest.counts if manifest and manifest.ingest else {}
    start = find_start(run_id)
    page = folder / PAGE
    version_now, state = states.find(run_id, number)
    return ListedRun(
        run_id=run_id,
        begun=start.isoformat(timespec="seconds") if start else None,
        outcome=describe_outcome(manifest, bool(problem), pushed),
        reason=problem or _find_reason(manifest, pushed),
        accuracy=evaluation.accuracy if evaluation else None,
        accuracy_interval=evaluation.accuracy_interval if evaluation else None,
        test_images=evaluation.images if evaluation else None,
        images=sum(sum(by_class.values()) for by_class in counts.values()) if counts else None,
        seconds=manifest.run_seconds if manifest else None,
        version=number,
        version_now=version_now,
        state=state,
        report=os.fspath(page) if page.is_file() else None,
    )


def _find_reason(manifest: RunManifest | None, pushed: Version | None) -> str:
    """Returns the first reason of an outcome; "" for a signal, and for a pushed model if the run went on to its end."""
    if manifest is None:
        return "its process was killed after the push" if pushed else ""
    if manifest.failed is not None:
        reason = read_failure(manifest.failed)
        if not pushed:
            return reason
        return f"stopped after the push: {reason}" if reason else "interrupted after the push"
    if manifest.evaluation is None:
        return manifest.decision.reason if manifest.decision else ""
    if manifest.held_back:
        known = "became live meanwhile" if manifest.held_back.state == SUPERSEDED else manifest.held_back.state
        return f"version {manifest.held_back.version}: {known}"
    serving = manifest.serving.reasons if manifest.serving else []
    return next(iter([*manifest.evaluation.failures, *serving]), "")


def _find_states(workspace: Workspace) -> _States:
    """Finds the versions of a workspace with their states, those of `./graft releases`."""
    found = list_all_states(workspace)
    by_number = {row[0].number: row for row in found}
    for row in found:
        if row[0].record.pushed_version is not None:
            by_number.setdefault(row[0].record.pushed_version, row)
    return _States({row[0].record.run_id: row for row in found if row[0].record.run_id}, by_number)


def _make_table(runs: RunList) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("begun (UTC)", "outcome", "accuracy (95 %)", "images", "time", "version", "run"):
        right = title in ("images", "time")
        table.add_column(title, no_wrap=True, justify="right" if right else "left")
    for run in runs.runs:
        images = "" if run.images is None else f"{run.images:,}"
        time = "" if run.seconds is None else write_duration(run.seconds)
        cells = (_write_time(run), _colour(run), _write_accuracy(run), images, time, _write_version(run))
        table.add_row(*cells, escape(printable(run.run_id)))
    return table


def _write_lines(run: ListedRun) -> list[str]:
    """Returns the id with the outcome, the figures, and for a run without a model the reason."""
    version = _write_version(run)
    head = f"[bold]{escape(printable(run.run_id))}[/]  {_colour(run)}{' as ' if version else ''}{version}"
    images = "" if run.images is None else f"{run.images:,} images"
    time = "" if run.seconds is None else write_duration(run.seconds)
    accuracy = _write_accuracy(run)
    figures = ", ".join(filter(None, [f"accuracy {accuracy}" if accuracy else "", images, time]))
    return [head, *filter(None, [figures, run.reason])]


def _write_time(run: ListedRun) -> str:
    return datetime.datetime.fromisoformat(run.begun).strftime("%Y-%m-%d %H:%M") if run.begun else ""


def _colour(run: ListedRun) -> str:
    colour = _COLOURS.get(run.outcome)
    return f"[{colour}]{run.outcome}[/]" if colour else run.outcome


def _write_accuracy(run: ListedRun) -> str:
    if run.accuracy is None:
        return ""
    low, high = run.accuracy_interval or (run.accuracy, run.accuracy)
    return f"{run.accuracy:.3f} ({low:.3f} to {high:.3f})"


def _write_version(run: ListedRun) -> str:
    """Returns the number that the run pushed, with the state of that version now: "7 withdrawn", "7 live as 9"."""
    state = color_state(run.state)
    if run.version is None:
        return state
    renumbered = f" as {run.version_now}" if run.version_now not in (None, run.version) else ""
    return f"{run.version} {state}{renumbered}".rstrip()
