"""`./graft repair`: moves aside what TFX keeps in a workspace, so that the next run begins anew."""

import dataclasses
import os
import pathlib

from pipeline.workspace.cleanup import move_aside
from pipeline.workspace.workspace import Workspace, open_workspace
from schema.errors import GraftError, UsageError
from schema.text import printable

# SQLite's own files are part of the database. It goes first: a journal alone is of no database.
_SUFFIXES = ("", "-journal", "-wal", "-shm")
_END_IT = "end it (Ctrl-C there) and type this again"


@dataclasses.dataclass(frozen=True)
class Repaired:
    """Files and folders that were moved, and the folder they are in now; None if there was nothing to move."""

    workspace: Workspace
    moved: list[pathlib.Path]
    lost: pathlib.Path | None


def repair(out: str) -> Repaired:
    """Moves the database and the artifacts of a workspace to a folder `lost-...` in it; deletes nothing.

    Args:
        out: the workspace; nothing may run in it.
    Raises:
        UsageError: if it is no workspace.
        GraftError: if a run is at work there, or the disk refuses.
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
                f"{printable(out)}: cannot be changed: {error.strerror}. Mend that, and type the same again."
            ) from None
        return Repaired(workspace, moved, lost)


def describe(repaired: Repaired) -> list[str]:
    """Says what was moved, what stays, and what the next run does."""
    root = printable(str(repaired.workspace.root))
    if repaired.lost is None:
        return [f"Moved:    nothing; {root} has neither a database nor artifacts"]
    names = ", ".join(path.name for path in repaired.moved)
    return [
        f"Moved:    {names} in {root}",
        f"          to {printable(str(repaired.lost))}; remove it when nothing in it is needed",
        "Kept:     serving, embeddings, decoded, runs",
        "Next:     ./graft run reads the images and trains anew; no image goes through the base again",
    ]
