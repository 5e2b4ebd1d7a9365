"""Runs on a server: finds those of a pipeline that are going on, and waits for their end.

Two runs of a pipeline at once train the same images and push into the same folder. The server prevents that within one
recurring run alone, so `submit` and `schedule` look before they start anything. Two clients in the same moment, and a
schedule that fires beside a `submit`, can still meet.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from typing import Any

from kubeflow.client import Server, ServerError, iterate, list_all
from schema.errors import GraftError

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAUSE = 5.0  # seconds between two requests for the state of a run
QUIET = 900.0  # seconds without a change before a word about it; then twice as long, and so on
_MAX_FAILURES = 12  # failed requests in a row: a minute or more
_LOST = "Of a run whose Workflow was removed from the cluster, the server never says that it ended."

# Prints a text beside a label.
Tell = Callable[[str, str], None]


@dataclasses.dataclass(frozen=True)
class Patience:
    """Bounds of a wait.

    Attributes:
        tell: prints each new state, and a word after a while without a change.
        until: time of `time.monotonic` in seconds at which waiting ends.
    """

    tell: Tell
    until: float = math.inf


def make_patience(tell: Tell, minutes: float | None) -> Patience:
    """Returns the bounds of a wait that begins now; without minutes it lasts as long as the runs."""
    return Patience(tell, math.inf if minutes is None else time.monotonic() + 60 * minutes)


def link_to(server: Server, run_id: str) -> str:
    """Returns the address of a run's web page."""
    return f"{server.ui.rstrip('/')}/#/runs/details/{run_id}"


def has_name(name: str) -> str:
    """Returns a filter of the API that matches a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def find_active_run(server: Server, pipeline: str) -> Any:
    """Returns a run of a pipeline that is going on, of any experiment, schedule or version; None if there is none.

    Searches all runs, the newest first: an active run is among the newest.

    Args:
        server: the server.
        pipeline: name of the pipeline.
    Raises:
        ServerError: if the server does not answer, or refuses.
    """
    listed = list_all(server.client.list_pipelines, "pipelines", namespace=server.namespace, filter=has_name(pipeline))
    ids = {found.pipeline_id for found in listed}
    runs = iterate(server.client.list_runs, "runs", sort_by="created_at desc", namespace=server.namespace)
    active = (run for run in runs if run.state not in ENDED)
    return next((run for run in active if _is_of(server, run, pipeline, ids)), None)


def _is_of(server: Server, run: Any, pipeline: str, ids: set[str]) -> bool:
    """Tells whether a run is one of a pipeline: by its reference, its spec, or that of its schedule."""
    reference, spec = run.pipeline_version_reference, run.pipeline_spec
    if reference and reference.pipeline_id:
        return reference.pipeline_id in ids
    if isinstance(spec, dict) and "pipelineInfo" in spec:
        return bool(spec["pipelineInfo"].get("name") == pipeline)
    if not run.recurring_run_id:
        return False
    try:
        owner = server.client.get_recurring_run(run.recurring_run_id).pipeline_version_reference
    except ServerError as error:
        if error.status != 404:
            raise
        return False
    return bool(owner and owner.pipeline_id in ids)


def expect_no_active_run(server: Server, pipeline: str, patience: Patience | None) -> None:
    """Refuses to go on beside a run of the pipeline, or waits for its end.

    Args:
        server: the server.
        pipeline: name of the pipeline.
        patience: bounds of the wait; None to refuse.
    Raises:
        GraftError: if a run is going on, and there is nothing to wait for or no time left.
        ServerError: if the server does not answer, or refuses.
    """
    while run := find_active_run(server, pipeline):
        name = f"{run.display_name} ({run.run_id})"
        if patience is None:
            raise GraftError(
                f"{name}: this run of the pipeline {pipeline} is going on, and a second one would train on the same "
                "images and push into the same folder. Give --wait to wait for its end, or --beside to go on all the "
                f"same. If its Workflow was removed from the cluster, delete it: {link_to(server, run.run_id)}"
            )
        patience.tell("Before", f"{name} is going on, and has to end first")
        wait_for_run(server, run.run_id, patience)


def wait_for_run(server: Server, run_id: str, patience: Patience) -> Any:
    """Waits for the end of a run.

    kfp's own method would wait for ever for a canceled run.

    Args:
        server: the server.
        run_id: id of the run.
        patience: bounds of the wait.
    Returns:
        The run, which has ended, as the server returns it.
    Raises:
        GraftError: if time is up; the run goes on.
        ServerError: if more than 12 requests in a row fail, or the server refuses one; the run goes on.
    """
    watch, failures = _Watch(patience.tell), 0
    while True:
        try:
            run = server.client.get_run(run_id)
        except ServerError as error:
            failures += 1
            if failures > _MAX_FAILURES or 400 <= error.status < 500:
                raise ServerError(*error.args, _goes_on(server, run_id), status=error.status) from None
        else:
            failures = 0
            watch.look_at(run)
            if run.state in ENDED:
                return run
        watch.tell_of_quiet()
        if time.monotonic() + PAUSE > patience.until:
            raise GraftError(
                f"the run {run_id} has not ended within the minutes of --wait-limit. {_LOST}",
                _goes_on(server, run_id),
            )
        time.sleep(PAUSE)


def _goes_on(server: Server, run_id: str) -> str:
    return f"The run goes on: {link_to(server, run_id)}"


class _Watch:
    """Tells of the states of a run, and of a long time without a change of any task."""

    def __init__(self, tell: Tell):
        self._tell, self._state, self._seen = tell, "", [("", "")]
        self._since, self._quiet = time.monotonic(), QUIET

    def look_at(self, run: Any) -> None:
        """Tells of the run's state if it is a new one."""
        state = str(run.state or "PENDING")
        if state != self._state:
            self._tell("State", state.lower())
        tasks = (run.run_details and run.run_details.task_details) or []
        seen = [("", state), *sorted((str(task.display_name), str(task.state)) for task in tasks)]
        if seen != self._seen:
            self._since, self._quiet = time.monotonic(), QUIET
        self._state, self._seen = state, seen

    def tell_of_quiet(self) -> None:
        """Tells of a long time without a change: after 15 minutes, 30, 60 and so on."""
        elapsed = time.monotonic() - self._since
        if elapsed >= self._quiet:
            self._tell("Waiting", f"no change for {elapsed / 60:.0f} min. {_LOST}")
            self._quiet *= 2
