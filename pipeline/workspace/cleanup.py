"""Cleans a workspace before a run: outputs of interrupted components, and artifacts unknown to the database."""

import pathlib
import shutil
from collections.abc import Collection

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.workspace.left_jobs import remove_outputs
from pipeline.workspace.workspace import LOST, Workspace, make_run_id

_UNFINISHED = {metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING}


def remove_unfinished(store: mlmd.MetadataStore, artifacts: pathlib.Path, left: Collection[int] = ()) -> None:
    """Removes the output folders of components that never finished, and marks their executions as cancelled.

    The workspace must be locked: an active run has unfinished components, too.

    Args:
        store: the metadata.
        artifacts: TFX's pipeline root.
        left: executions whose folders stay, because a job on another engine may run on, see `left_jobs`.
    """
    # The newer stack's metadata library has no filter_query.
    unfinished = [e for e in store.get_executions() if e.last_known_state in _UNFINISHED]
    for execution in unfinished:
        if execution.id not in left:
            remove_outputs(artifacts, execution.id)
        execution.last_known_state = metadata_store_pb2.Execution.CANCELED
    if unfinished:
        store.put_executions(unfinished)


def set_unknown_aside(store: mlmd.MetadataStore, workspace: Workspace) -> pathlib.Path | None:
    """Moves aside the output folders that have the numbers of future executions.

    TFX names an output folder by the number of the execution. A lost database, or an older copy, counts from a smaller
    number: its next executions would take the files in these folders for their own outputs.

    Args:
        store: the metadata.
        workspace: workspace that this process has locked.
    Returns:
        The folder with the moved folders; None if there were none.
    """
    newest = max((execution.id for execution in store.get_executions()), default=0)
    folders = [
        folder
        for pattern in ("*/*/*", "*/.system/*/*")
        for folder in sorted(workspace.artifacts.glob(pattern))
        if folder.name.isdecimal() and int(folder.name) > newest
    ]
    lost = move_aside(workspace, folders) if folders else None
    if lost or not newest:
        workspace.follow_artifacts(lost)
    return lost


def move_aside(workspace: Workspace, paths: list[pathlib.Path]) -> pathlib.Path:
    """Moves files and folders of a workspace to a new folder in the workspace, and keeps their relative paths.

    Args:
        workspace: workspace that this process has locked.
        paths: files and folders below its root.
    Returns:
        The new folder.
    """
    lost = workspace.root / f"{LOST}{make_run_id()}"
    for path in paths:
        target = lost / path.relative_to(workspace.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)  # a rename, unless the folder is a link to another disk
    return lost
