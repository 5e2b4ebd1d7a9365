"""Finds out why a run failed: the failed tasks, and the exit code and reason from their logs.

Kubeflow's launcher ends with 1, whatever the command of its task ended with. The API of a failed run has no error, no
exit code and no message of a pod (kubeflow/pipelines, issue 14007): only the states of Argo's nodes, with the nodes
below each. The log of a task has both: Graft's line begins with "graft:", and the launcher's says "exit status 3".
The server hands logs out while the pod is there, and later where Argo archives them.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from kubeflow.client import Server, ServerError, read_log
from kubeflow.runs import link_to
from schema.errors import DataError, GraftError, UsageError

# Names of Argo's templates whose pods run a task (backend/src/v2/compiler/argocompiler/container.go).
_TEMPLATES = ("system-container-impl", "retry-system-container-impl")
_OURS = {GraftError.exit_code, UsageError.exit_code, DataError.exit_code}
_ATTEMPT = re.compile(r"\(\d+\)$")  # Argo numbers the attempts of a node
_STATUS = re.compile(r"\b(?:exit status (\d+)|signal: [a-z ]+)")
_MOST_PODS = 24  # to ask for; a failed task has a few nodes
_LINES = 12  # at the end of a log without a line of Graft's


class RunFailedError(GraftError):
    """Error of a run that has failed; its exit code is that of the failed task, where that is known."""

    def __init__(self, *lines: str, exit_code: int):
        """Takes the lines of the message and the exit code."""
        super().__init__(*lines)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class TaskEnd:
    """End of a task, from its log.

    Attributes:
        status: words of the launcher, such as "exit status 3".
        exit_code: exit code of the task; 1 if a signal ended it.
        reason: lines of Graft's about the error, without "graft: "; empty if there are none.
    """

    status: str
    exit_code: int
    reason: list[str]


def explain_failure(server: Server, run: Any, pipeline: str) -> RunFailedError:
    """Returns the error of a run that has failed or was canceled.

    The exit code is that of the failed tasks if their logs say so and agree; else 1. It is never guessed: ExampleGen
    and the gates end with 3, and a pod of either may have been evicted.

    Args:
        server: the server.
        run: the run, as the server returns it.
        pipeline: name of the pipeline.
    """
    link = link_to(server, run.run_id)
    states = [str(status.state) for status in run.state_history or []]
    if run.state == "CANCELED" or "CANCELING" in states:
        return RunFailedError(f"the run was terminated: {link}", exit_code=1)
    failed = [task for task in _list_tasks(run) if task.state == "FAILED"]
    names = _name_tasks(failed, pipeline)
    if not names:
        return RunFailedError(f"the run failed, and the server names no task: {link}", exit_code=1)
    ends = list(_read_ends(server, run.run_id, failed))
    root = (run.runtime_config and run.runtime_config.pipeline_root) or "PIPELINE_ROOT"
    places = ", ".join(f"{root}/{pipeline}/{run.run_id}/{name}/" for name in names)
    codes = {end.exit_code if end.exit_code in _OURS else 1 for end in ends} | (
        {1} if len(ends) < len(names) else set()
    )
    return RunFailedError(
        *_list_reasons(", ".join(names), ends),
        f"The log is the artifact executor-logs below {places}; the run: {link}",
        exit_code=codes.pop() if len(codes) == 1 else 1,
    )


def _list_reasons(names: str, ends: list[TaskEnd]) -> list[str]:
    if not ends:
        return [f"{names}: failed, and the server does not hand out its log, which says why."]
    return [f"{names}: {line}" for end in ends for line in end.reason or [_describe(end)]]


def _describe(end: TaskEnd) -> str:
    return f"ended with {end.status}, without a line of Graft's."


def _list_tasks(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _name_tasks(failed: list[Any], pipeline: str) -> list[str]:
    """Returns the names of the failed tasks of the pipeline, without Argo's nodes above and below them."""
    workflows = {child.rpartition("-")[0] for task in failed for child in _list_children(task)}
    names = [_ATTEMPT.sub("", str(task.display_name)).removesuffix("-driver") for task in failed]
    others = {"root", "executor", pipeline, *workflows}
    return sorted({name for name in names if name not in others})


def _list_children(task: Any) -> list[str]:
    return [str(child.pod_name or child.task_id or "") for child in task.child_tasks or []]


def _read_ends(server: Server, run_id: str, failed: list[Any]) -> Iterator[TaskEnd]:
    """Yields the end of each failed task whose log the server hands out; of several attempts the last one counts."""
    asked: set[str] = set()
    for task in failed:
        nodes = [str(task.pod_name)] if task.pod_name else _list_children(task)[-1:]
        for pod in (pod for node in nodes for pod in _name_pods(node)):
            if pod not in asked and len(asked) < _MOST_PODS:
                asked.add(pod)
                if end := _read_end(server, run_id, pod):
                    yield end


def _name_pods(node: str) -> list[str]:
    """Returns the possible names of a node's pod: Argo puts the template between the workflow's name and the hash."""
    workflow, _, digest = node.rpartition("-")
    if "-system-container-" in node or not workflow:
        return [node]
    return [f"{workflow}-{template}-{digest}" for template in _TEMPLATES]


def _read_end(server: Server, run_id: str, pod: str) -> TaskEnd | None:
    try:
        return find_end(read_log(server, run_id, pod))
    except ServerError:  # 400 or 500 for a pod that is gone or never was, 404 from a server without logs
        return None


def find_end(log: str) -> TaskEnd | None:
    """Finds the end of a task in its log.

    Argo's own lines follow those of the launcher, and always say "exit status 1": the first status counts.

    Args:
        log: end of the log.
    Returns:
        None if the log does not say how the task ended.
    """
    lines = log.splitlines()
    ours = [number for number, line in enumerate(lines) if line.startswith("graft: ")]
    behind = lines[ours[-1] + 1 :] if ours else lines[-_LINES:]
    found = next(filter(None, map(_STATUS.search, behind)), None)
    if not found:
        return None
    first = next((n for n in reversed(ours) if n - 1 not in ours), 0)
    reason = [line.removeprefix("graft: ") for line in lines[first : ours[-1] + 1]] if ours else []
    return TaskEnd(found[0].strip(), int(found[1] or 1), reason)
