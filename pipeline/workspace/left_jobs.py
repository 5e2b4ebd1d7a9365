"""Outputs of jobs that ran on when their run ended: they stay until the job has ended, or for a day without change.

A job on another engine outlives a killed run, and in Flink an interrupted one. Without the folder that it writes to it
would fail, be tried again, and hold its slots. `pipeline.beam.jobs` notes each job beside the outputs.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Callable, Collection

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.beam import jobs
from serving.storage.whole_files import is_abandoned

_FINISHED = {metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED}


def remove_ended(
    store: mlmd.MetadataStore, artifacts: pathlib.Path, has_ended: Callable[[jobs.Job], bool]
) -> dict[int, jobs.Job]:
    """Removes the outputs of jobs that have ended, or have changed nothing for a day.

    The workspace must be locked: an active run has jobs, too.

    Args:
        store: the metadata.
        artifacts: TFX's pipeline root.
        has_ended: asks the job server; False if the end is not known.
    Returns:
        The jobs that may run on, by number of the execution.
    """
    notes: dict[int, list[pathlib.Path]] = {}
    for path in sorted(artifacts.glob(f"*/.system/executor_execution/*/{jobs.PREFIX}*.json")):
        notes.setdefault(int(path.parent.name), []).append(path)
    finished = {e.id for e in store.get_executions() if e.last_known_state in _FINISHED} if notes else set()
    left = {}
    for execution, paths in notes.items():
        job = None if _is_unchanged(artifacts, execution) else _find_running(paths, has_ended)
        if job:
            left[execution] = job
        elif execution in finished:
            for path in paths:
                path.unlink(missing_ok=True)
        else:
            remove_outputs(artifacts, execution)
    return left


def remove_outputs(artifacts: pathlib.Path, execution: int) -> None:
    """Removes the output folders of an execution."""
    for folder in (*artifacts.glob(f"*/*/{execution}"), *artifacts.glob(f"*/.system/*/{execution}")):
        shutil.rmtree(folder, ignore_errors=True)


def _find_running(paths: Collection[pathlib.Path], has_ended: Callable[[jobs.Job], bool]) -> jobs.Job | None:
    found = filter(None, (jobs.read_note(str(path)) for path in paths))
    return next((job for job in found if not has_ended(job)), None)


def _is_unchanged(artifacts: pathlib.Path, execution: int) -> bool:
    """Tells whether no file or folder of an execution has changed for a day."""
    times = []
    for folder in (*artifacts.glob(f"*/*/{execution}"), *artifacts.glob(f"*/.system/*/{execution}")):
        for path in (folder, *folder.rglob("*")):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
    return all(map(is_abandoned, times))
