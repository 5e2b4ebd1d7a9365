"""Schedules: recurring runs of Kubeflow Pipelines, one for each name in an experiment.

The server cannot change a recurring run. So a change makes a new recurring run first, and then deletes the old one. In
this order a schedule exists at every moment, and the same command repairs a change that failed half-way. Between the
two requests both exist: a scheduled time within that moment would start two runs.

`max_concurrency` holds within one recurring run alone. So a change looks first for a run of the pipeline that is going
on (`runs.py`). What remains: a schedule fires beside a run of `submit`, of another schedule or of the schedule that it
replaced with --beside, and two clients act in the same moment. No lease would help, because no pod lives between two
tasks to hold one. Such runs train twice, and the Pusher of the second one does not push what is there already.
"""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubeflow.client import Server, ServerError, iterate, list_all
from kubeflow.compiled import CompiledSpec
from kubeflow.cron import Cron, parse_cron
from kubeflow.runs import ENDED
from kubeflow.submit import Version, find_experiment, find_version, make_experiment, upload
from pipeline.console.printing import print_plain
from schema.errors import GraftError, UsageError

_ENABLED = "ENABLED"
_SHORT = 8  # characters of an id; Kubernetes' UI shows as many
_MAX_CONCURRENCY = 1  # two runs at once would push into the same folder


@dataclasses.dataclass(frozen=True)
class Listed:
    """Row of a schedule in the list.

    Attributes:
        name: name of the schedule.
        id: id of the recurring run.
        status: "enabled" or "paused".
        cron: cron expression with seconds; None for a schedule of another kind.
        next_run: time of the next run, in ISO 8601; None if the schedule is paused, or has no further run.
        version: name of the pipeline version to run; None for the newest.
        parameters: parameters of the runs, by name, as they were given.
        pipeline_root: folder of the runs' artifacts, or None.
    """

    name: str
    id: str
    status: str
    cron: str | None
    next_run: str | None
    version: str | None
    parameters: dict[str, Any]
    pipeline_root: str | None


@dataclasses.dataclass(frozen=True)
class ScheduleResult:
    """Result of `set_schedule`.

    Attributes:
        version: version of the pipeline to run.
        schedule: the recurring run, as the server returns it.
        change: "created", "updated" or "unchanged".
        enabled: whether the schedule starts runs.
        left: replaced schedules that are paused and not deleted, because a run of theirs is still active.
    """

    version: Version
    schedule: Any
    change: str
    enabled: bool
    left: list[str]


def set_schedule(
    server: Server,
    spec: CompiledSpec,
    experiment: str,
    name: str,
    cron: Cron,
    parameters: dict[str, Any],
    root: str | None,
    before: Callable[[], None] = lambda: None,
) -> ScheduleResult:
    """Makes a schedule, or changes the one of this name; a paused schedule stays paused.

    Args:
        server: the server.
        spec: spec to run.
        experiment: name of the experiment; made if it is missing.
        name: name of the schedule.
        cron: times of the runs.
        parameters: parameters of each run, by name.
        root: folder of the artifacts; None for that of the spec.
        before: called before anything is made or changed, and not at all if the schedule stays as it is.
    Raises:
        ServerError: if the server does not answer, or refuses.
    """
    root = root or spec.pipeline_root
    version, experiment_id = find_version(server, spec), find_experiment(server, experiment)
    older = [r for r in _list(server, experiment_id) if r.display_name == name] if experiment_id else []
    enabled = not older or any(r.status == _ENABLED for r in older)
    same = [r for r in older if version and _is_same(r, version, cron, parameters, root)]
    kept = same[0] if same else None
    change = "created" if not older else "updated" if kept is None else "unchanged"
    if version is None or kept is None:
        before()
        version, experiment_id = upload(server, spec), make_experiment(server, experiment)
        kept = server.client.create_recurring_run(
            experiment_id,
            name,
            cron_expression=cron.text,
            max_concurrency=_MAX_CONCURRENCY,
            no_catchup=True,
            params=parameters,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            enabled=enabled,
            pipeline_root=root,
        )
    elif enabled and kept.status != _ENABLED:
        server.client.enable_recurring_run(kept.recurring_run_id)
    others = [r for r in older if r.recurring_run_id != kept.recurring_run_id]
    try:
        left = [_describe(r) for r in others if not _delete_or_pause(server, r)]
    except ServerError as error:
        raise ServerError(
            *error.args,
            f"{_describe(kept)} exists, and an older schedule of this name may, too. Give the same command again.",
            status=error.status,
        ) from None
    return ScheduleResult(version, kept, change, enabled, left)


def pause_schedule(server: Server, experiment: str, which: str) -> list[str]:
    """Pauses every schedule of a name.

    Args:
        server: the server.
        experiment: name of the experiment.
        which: name of the schedule, its id or the beginning of its id.
    Returns:
        Names and ids of the paused schedules.
    Raises:
        UsageError: if the experiment has no such schedule.
        ServerError: if the server does not answer, or refuses.
    """
    found = _find(server, experiment, which)
    for recurring_run in found:
        server.client.disable_recurring_run(recurring_run.recurring_run_id)
    return [_describe(r) for r in found]


def resume_schedule(server: Server, experiment: str, which: str) -> list[str]:
    """Resumes the newest schedule of a name, as the older ones were replaced. Arguments as for `pause_schedule`."""
    newest = _find(server, experiment, which)[0]
    server.client.enable_recurring_run(newest.recurring_run_id)
    return [_describe(newest)]


def delete_schedule(server: Server, experiment: str, which: str) -> list[str]:
    """Deletes every schedule of a name. Arguments as for `pause_schedule`.

    Raises:
        GraftError: if a run of such a schedule is active: it would end with the schedule.
    """
    found = _find(server, experiment, which)
    for recurring_run in found:
        run = _find_running(server, recurring_run)
        if run:
            raise GraftError(
                f"{_describe(recurring_run)}: its run {run.run_id} is active, and would end with the schedule. "
                "Pause the schedule now, and delete it when that run has ended."
            )
    for recurring_run in found:
        server.client.delete_recurring_run(recurring_run.recurring_run_id)
    return [_describe(r) for r in found]


def describe_schedules(server: Server, experiment: str) -> list[Listed]:
    """Describes the schedules of an experiment, sorted by name; of one name the newest first."""
    experiment_id = find_experiment(server, experiment)
    found = _list(server, experiment_id) if experiment_id else []
    now = datetime.datetime.now(datetime.timezone.utc)
    return [_to_row(server, r, now) for r in sorted(found, key=lambda r: str(r.display_name))]


def print_schedules(rows: list[Listed], console: Console) -> None:
    """Prints a row for each schedule, and below the table the parameters of its runs."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("name", "id", "status", "next run (UTC)", "cron", "version"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        next_run = (row.next_run or "-").replace("T", " ")[:19]
        cells = [row.name, row.id[:_SHORT], row.status, next_run, row.cron or "-"]
        table.add_row(*map(escape, [*cells, row.version or "the newest"]))
    console.print(table)
    for row in rows:
        given = " ".join(f"{name}={json.dumps(v, ensure_ascii=False)}" for name, v in row.parameters.items())
        line = f"{row.name} ({row.id[:_SHORT]}): {given or 'the parameters of the spec'}"
        print_plain(console, line)


def render_json(experiment: str, rows: list[Listed]) -> str:
    """Renders the schedules as one JSON object."""
    return json.dumps(
        {"experiment": experiment, "schedules": [vars(row) for row in rows]}, indent=1, ensure_ascii=False
    )


def _to_row(server: Server, recurring_run: Any, now: datetime.datetime) -> Listed:
    cron = _cron_of(recurring_run)
    runs = recurring_run.status == _ENABLED
    config = recurring_run.runtime_config
    return Listed(
        name=recurring_run.display_name,
        id=recurring_run.recurring_run_id,
        status="enabled" if runs else "paused",
        cron=cron,
        next_run=_find_next(cron, now) if runs else None,
        version=_find_version_name(server, recurring_run.pipeline_version_reference),
        parameters=(config and config.parameters) or {},
        pipeline_root=(config and config.pipeline_root) or None,
    )


def _find_next(cron: str | None, now: datetime.datetime) -> str | None:
    """Returns the next time in ISO 8601; None for an expression that this module refuses, as other tools may write."""
    with contextlib.suppress(UsageError):
        time = parse_cron(cron or "").find_next(now)
        return time.isoformat() if time else None
    return None


def _find_version_name(server: Server, reference: Any) -> str | None:
    if not (reference and reference.pipeline_version_id):
        return None
    try:
        version = server.client.get_pipeline_version(reference.pipeline_id, reference.pipeline_version_id)
    except ServerError as error:
        if error.status != 404:
            raise
        return f"{reference.pipeline_version_id[:_SHORT]}, deleted"
    return str(version.display_name)


def _find(server: Server, experiment: str, which: str) -> list[Any]:
    """Returns the recurring runs of a name, newest first; or the one whose id begins with the text.

    Raises:
        UsageError: if there is none, or more than one id begins so.
    """
    experiment_id = find_experiment(server, experiment)
    found = _list(server, experiment_id) if experiment_id else []
    named = [r for r in found if r.display_name == which]
    by_id = [r for r in found if which and r.recurring_run_id.startswith(which)]
    if named or len(by_id) == 1:
        return named or by_id
    known = ", ".join(_describe(r) for r in found) or "none"
    many = "more than one schedule" if by_id else "no schedule"
    raise UsageError(f"{which}: {many} of this name or id in the experiment {experiment}. There is: {known}.")


def _list(server: Server, experiment_id: str) -> list[Any]:
    """Returns the recurring runs of an experiment, the newest first."""
    found = list_all(server.client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id)
    return sorted(found, key=lambda r: r.created_at, reverse=True)


def _is_same(recurring_run: Any, version: Version, cron: Cron, parameters: dict[str, Any], root: str | None) -> bool:
    reference, config = recurring_run.pipeline_version_reference, recurring_run.runtime_config
    return (
        bool(reference and reference.pipeline_version_id == version.version_id)
        and _cron_of(recurring_run) == cron.text
        and ((config and config.parameters) or {}) == parameters
        and ((config and config.pipeline_root) or None) == root
        and recurring_run.no_catchup is True
        and int(recurring_run.max_concurrency) == _MAX_CONCURRENCY
    )


def _cron_of(recurring_run: Any) -> str | None:
    trigger = recurring_run.trigger
    return trigger.cron_schedule.cron if trigger and trigger.cron_schedule else None


def _delete_or_pause(server: Server, recurring_run: Any) -> bool:
    """Deletes a replaced recurring run, or pauses it while a run of it is active.

    Kubernetes would end that run together with the recurring run: the ScheduledWorkflow owns the
    Workflows of its runs (backend/src/crd/controller/scheduledworkflow/util).

    Returns:
        True if it was deleted.
    """
    if not _find_running(server, recurring_run):
        server.client.delete_recurring_run(recurring_run.recurring_run_id)
        return True
    if recurring_run.status == _ENABLED:
        server.client.disable_recurring_run(recurring_run.recurring_run_id)
    return False


def _find_running(server: Server, recurring_run: Any) -> Any:
    """Returns an active run of a recurring run; None if there is none.

    Searches all runs of the experiment, the newest first: an active run is among the newest.
    """
    runs = iterate(
        server.client.list_runs, "runs", sort_by="created_at desc", experiment_id=recurring_run.experiment_id
    )
    own = (r for r in runs if r.recurring_run_id == recurring_run.recurring_run_id)
    return next((r for r in own if r.state not in ENDED), None)


def _describe(recurring_run: Any) -> str:
    return f"{recurring_run.display_name} ({recurring_run.recurring_run_id[:_SHORT]})"
