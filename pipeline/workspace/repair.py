"""Moves TFX's database and artifacts aside, so that the next run starts from the data."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import pydantic

from pipeline.config.config import Config
from pipeline.config.here import DEFAULT_OUT, DEMO_DATA, DEMO_OUT, find_config
from pipeline.config.load import load_config
from pipeline.config.options import find_differences, write_run_command
from pipeline.workspace.cleanup import move_aside
from pipeline.workspace.workspace import Workspace, open_workspace
from schema.errors import GraftError, UsageError
from schema.text import printable, quote
from serving.releases.record import RunConfig
from serving.storage.gfile import is_remote

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
    command, reminder = find_next_command(repaired.workspace)
    return [
        f"Moved:    {names} in {root}",
        f"          to {printable(str(repaired.lost))}; remove that folder when you need nothing from it",
        "Kept:     serving, embeddings, decoded, runs",
        f"Next:     {command}",
        f"          {reminder}It reads the images again, takes stored embeddings,",
        "          and trains if images or settings are new to the live version",
    ]


def find_next_command(workspace: Workspace) -> tuple[str, str]:
    """Finds the command that runs in a workspace as its last run did.

    Returns:
        The command, as typed in the current folder; and a sentence if options of the last run are missing in it, or "".
    """
    if _is_configured(workspace):
        return "./graft run", ""
    last = next((run.config for run in reversed(workspace.load_manifests()) if run.config.data), RunConfig())
    data = last.data
    if data and os.path.abspath(data) == str(workspace.root / DEMO_DATA):
        out = _name_out(workspace, DEMO_OUT)
        return f"./graft demo --out {quote(out)}" if out else "./graft demo", ""
    shown = data if is_remote(data) or os.path.isdir(data) else "DATA"
    options = _find_options(last)
    command = write_run_command(shown, None, {"out": _name_out(workspace, DEFAULT_OUT)} | (options or {}))
    return command, "With the options of the last run. " if options is None else ""


def _find_options(last: RunConfig) -> dict[str, Any] | None:
    """Finds the options of `./graft run` that give the settings of the last run in the current folder.

    Returns:
        Value by key; None if no options give these settings, as for a class with a comma in its name, or if the
        settings are unknown or those of another version of Graft.
    """
    try:
        wanted = Config(**last.model_dump(exclude_none=True))
        paths = {"data": wanted.data, "out": wanted.out}
        options = find_differences(wanted, load_config(find_config(), paths))
        return options if load_config(find_config(), paths | options) == wanted else None
    except (GraftError, pydantic.ValidationError):
        return None


def _is_configured(workspace: Workspace) -> bool:
    """Tells whether the configuration file in the current folder names a workspace, and the images."""
    file = find_config()
    with contextlib.suppress(GraftError):  # a damaged file, or one without images
        return file is not None and os.path.abspath(load_config(file, {}).out) == str(workspace.root)
    return False


def _name_out(workspace: Workspace, default: str) -> str | None:
    """Returns the folder of a workspace for --out; None for the one that a command has by default."""
    here = os.path.abspath(default) == str(workspace.root) and not (default == DEFAULT_OUT and find_config())
    return None if here else str(workspace.root)
