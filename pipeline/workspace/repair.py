"""Moves TFX's database and artifacts aside, so that the next run starts from the data."""

import dataclasses
import os
import pathlib

from pipeline.workspace.cleanup import move_aside
from pipeline.workspace.workspace import Workspace, open_workspace
from schema.errors import GraftError, UsageError
from schema.text import printable

# The database and SQLite's further files. The database moves first: an interrupted move must not leave a database
# without its journal.
_SUFFIXES = ("", "-journal", "-wal", "-shm")
_END_IT = "end it (Ctrl-C there) and type this again"


@dataclasses.dataclass(frozen=True)
class Repaired:
    """Moved files and folders, and the folder that has them now; None if there was nothing to move."""

    workspace: Workspace
    moved: list[pathlib.Path]
    lost: pathlib.Path | None


def repair(out: str) -> Repaired:
    """Moves the database and the artifacts of a workspace to a folder `lost-...` in it; deletes nothing.

    Args:
        out: folder of the workspace.
    Raises:
        UsageError: if the folder is not a workspace.
        GraftError: if a run is active there, or the disk is not writable.
    """
    found = Workspace(pathlib.Path(os.path.abspath(out)))
    if not found.exists():
        raise UsageError(f"{printable(out)}: no workspace of ./graft run here. Name one with --out.")
    with open_workspace(out, _END_IT) as workspace:
        parts = [pathlib.Path(f"{workspace.metadata}{suffix}") for suffix in _SUFFIXES] + [workspace.artifacts]
        moved = [path for path in parts if os.path.lexists(path)]
        try:
            lost = move_aside(workspace, moved) if moved else None
            workspace.follow_artifacts(lost)
        except OSError as error:
            raise GraftError(
                f"{printable(out)}: cannot be changed: {error.strerror}. Make it writable, and repeat the command."
            ) from None
        return Repaired(workspace, moved, lost)


def describe(repaired: Repaired) -> list[str]:
    """Describes the moved files, the kept ones, and the next run."""
    root = printable(str(repaired.workspace.root))
    if repaired.lost is None:
        return [f"Moved:    nothing; {root} has neither a database nor artifacts"]
    names = ", ".join(path.name for path in repaired.moved)
    return [
        f"Moved:    {names} in {root}",
        f"          to {printable(str(repaired.lost))}; remove that folder when you need nothing from it",
        "Kept:     serving, embeddings, decoded, runs",
        "Next:     ./graft run reads the images and trains again; no image goes through the base again",
    ]
