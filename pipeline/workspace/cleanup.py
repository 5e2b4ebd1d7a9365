"""Clears the way for a run: what an interrupted one left behind, and what the database knows nothing of."""

import pathlib
import shutil

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.workspace.workspace import LOST, Workspace, make_run_id

_UNFINISHED = {metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING}


def remove_unfinished(store: mlmd.MetadataStore, artifacts: pathlib.Path) -> None:
    """Removes the output folders of components that never finished, and marks these as cancelled.

    Only with the workspace locked: a run at work has such components, too.

    Args:
        store: the metadata.
        artifacts: TFX's pipeline root.
    """
    # The newer stack's metadata library knows no filter_query.
    unfinished = [e for e in store.get_executions() if e.last_known_state in _UNFINISHED]
    for execution in unfinished:
        for folder in (*artifacts.glob(f"*/*/{execution.id}"), *artifacts.glob(f"*/.system/*/{execution.id}")):
            shutil.rmtree(folder, ignore_errors=True)
        execution.last_known_state = metadata_store_pb2.Execution.CANCELED
    if unfinished:
        store.put_executions(unfinished)


def set_unknown_aside(store: mlmd.MetadataStore, workspace: Workspace) -> pathlib.Path | None:
    """Moves away the output folders whose executions are yet to come: TFX names them by number, and counts up.

    They are there where the database was lost, or is an older copy. Its next executions would find their outputs
    filled with those of others, and take these for their own.

    Args:
        store: the metadata.
        workspace: locked by this process.
    Returns:
        The folder that they are in now; None if there were none.
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
    """Moves files and folders of a workspace to a new folder in it, under the names that they have.

    Args:
        workspace: locked by this process.
        paths: below its root.
    Returns:
        The new folder.
    """
    lost = workspace.root / f"{LOST}{make_run_id()}"
    for path in paths:
        target = lost / path.relative_to(workspace.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)  # a rename, but where the folder is a link to another disk
    return lost
