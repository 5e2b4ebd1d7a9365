"""Explains the errors of another engine to a person: what happened, what is kept, and the one thing to look at."""

import re

from pipeline.beam import jobs
from pipeline.beam.causes import find_first_cause
from pipeline.beam.watch import EngineError
from schema.errors import GraftError

_DETAILS = re.compile(r'details = "(.*?)\.?"$', re.M)
_ADDRESS = re.compile(r"(?:[Rr]efused|UnknownHostException): (\S+:\d+)")
# The words of Flink 1.20.3 and of Beam's job server for it. The address of the refused connection stands in the chain
# of exceptions, where the first cause has none.
_BUFFERS = re.compile(r"Insufficient number of network buffers: required \d+, but only \d+ available")
_SLOTS = re.compile(
    r"NoResourceAvailableException|Could not acquire the minimum required resources|"
    r"Could not allocate the required slot|Slot request bulk is not fulfillable"
)
_LOST = re.compile(
    r"[Hh]eartbeat of TaskManager with id .+? timed out|TaskManager with id .+? is no longer reachable|"
    r"Connection unexpectedly closed by remote task manager '[^']*'|The TaskExecutor is shutting down|"
    r"The assigned slot \S+ was removed"
)
_STOPPED = re.compile(r"CANCELLED: client cancelled")
_SUBMISSION = re.compile(r"RestClusterClient|flink\.runtime\.rest|Failed to submit JobGraph|Could not submit job")
_START = re.compile(r"ExternalEnvironmentFactory|StartWorker|ExternalWorkerPool")
_REFUSED = re.compile(r"[Cc]onnection refused|UnknownHostException|failed to connect to all addresses")


def explain_engine_error(error: BaseException, *kept: str) -> GraftError | None:
    """Returns the error of an engine in words for a person; None for an error of another kind.

    Args:
        error: error of a run; None is returned for a GraftError, which is in such words already.
        *kept: lines about the work that is kept.
    """
    found = None if isinstance(error, GraftError) else find_engine_error(error)
    if not found:
        return None
    if not (fault := _describe_fault(found, f"{found}\n{found.told}")):
        return None
    left = [found.job.describe_cancel()] if found.job in jobs.list_running() else []
    return GraftError(fault, *left, *kept)


def find_engine_error(error: BaseException | None) -> EngineError | None:
    """Returns the engine's error in the chain of an error; None if there is none."""
    while error is not None and not isinstance(error, EngineError):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error


def _describe_fault(error: EngineError, text: str) -> str:
    """Returns the fault and the one thing to look at; "" for an unknown fault."""
    job, cause = error.job, find_first_cause(str(error).partition(" failed in state FAILED: ")[2] or str(error))
    if error.silent:
        return (
            f"the job server at {job.endpoint} has told of no progress for {error.silent:g} minutes, the limit of "
            f"beam.max_silent_minutes. Look at {job.describe_place()}."
        )
    if error.gone:
        details = _DETAILS.search(text)
        return (
            f"the job server at {job.endpoint} answers no more: {details[1] if details else cause}. Look at its log, "
            "and start it again."
        )
    if found := _BUFFERS.search(text):
        return (
            f"Flink's TaskManagers have too few network buffers: {found[0]}. Look at their configuration, which needs "
            "taskmanager.network.sort-shuffle.min-parallelism: 1000, or 4096m of memory: docs/beam.md."
        )
    if _SLOTS.search(text):
        return (
            f"Flink has fewer free slots than job {job.name} asks for, which waited for them for 300 s. Look at the "
            f"free slots in Flink's interface, and set beam.parallelism{_parenthesize(job.parallelism)} to as many at "
            "the most."
        )
    if found := _LOST.search(text):
        return (
            f"Flink has lost a TaskManager: {found[0]}. Look at the end of that TaskManager's log; docs/beam.md has "
            "the restart strategy that survives this."
        )
    if found := _STOPPED.search(text):
        return (
            f"a worker was stopped by another than its own TaskManager: {found[0]}. Look whether each TaskManager has "
            f"a worker pool of its own{_place(job.pool)}; a shared pool stops the workers of the other TaskManager."
        )
    return _describe_refused(error, text, cause) if _REFUSED.search(text) else ""


def _describe_refused(error: EngineError, text: str, cause: str) -> str:
    """Returns the fault of a part of the engine that takes no connections."""
    job, address = error.job, _ADDRESS.search(text)
    details = _DETAILS.search(text)
    cause = details[1] if details else cause
    if job.pool and (_START.search(text) or job.pool in text):
        return f"the worker pool at {job.pool} does not answer: {cause}. Look whether it runs where the engine sees it."
    if _SUBMISSION.search(text):
        return (
            f"Flink's JobManager does not answer{_place(address[1] if address else '')}: {cause}. Look whether it "
            f"runs, and at --flink-master of the job server at {job.endpoint}."
        )
    if not job.flink:
        return ""
    pool = f"the worker pool at {job.pool}" if job.pool else "that of a worker"
    return (
        f"Flink reached no server{_place(address[1] if address else '')}: {cause}. Look at the log of the job server "
        f"at {job.endpoint} for the address: it is Flink's JobManager, or {pool}."
    )


def _place(address: str) -> str:
    return f" at {address}" if address else ""


def _parenthesize(number: str) -> str:
    return f" ({number})" if number else ""
