"""Finds a run by the words that a user types: the id of a run, or the number of a pushed version."""

import difflib
import os
import re
from collections.abc import Sequence

from pipeline.workspace.pushed_models import find_model_dir, read_number
from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError
from schema.text import list_some
from serving.releases import versions
from serving.releases.versions import Version

_VERSION = re.compile(r"v?([0-9]{1,19})")
_FEW = 5  # versions that an error lists whole
_ALIKE = 0.3  # lowest similarity of a name that an error proposes, 0 to 1


def find_newest(workspace: Workspace) -> str:
    """Returns the id of the newest run.

    Raises:
        UsageError: if the workspace has no run.
    """
    return list_or_refuse(workspace)[-1]


def list_or_refuse(workspace: Workspace) -> list[str]:
    """Returns the ids of the runs, oldest first.

    Raises:
        UsageError: if the workspace has no run.
    """
    runs = workspace.list_runs()
    if not runs:
        raise UsageError(f"{workspace.root}: no run here. Start one with: ./graft run, or name a workspace with --out.")
    return runs


def find_run(workspace: Workspace, text: str, model: str | None) -> tuple[str, Version | None] | Version:
    """Finds a run.

    Args:
        workspace: workspace of the runs.
        text: id of a run, or its folder; number of a version with or without a "v" before it, or its folder.
        model: name of the model of a version; None for the only one.
    Returns:
        The id of the run, and the version, which is None if it was not named or is gone. A version whose run is gone
        stands alone.
    Raises:
        UsageError: if there is no such run or version.
    """
    runs = list_or_refuse(workspace)
    folder, name = os.path.split(text.rstrip("/"))
    if name in runs and (not folder or os.path.realpath(folder) == os.path.realpath(workspace.runs)):
        return name, None
    number = _VERSION.fullmatch(text)
    if not number and not (folder and os.path.isdir(text)):
        raise UsageError(
            f"{workspace.runs}: no run {text!r}. The nearest: {_propose(text, runs)}; ./graft runs lists them all."
        )
    return _find_version(workspace, number[1] if number else text, model, runs)


def _find_version(
    workspace: Workspace, text: str, model: str | None, runs: Sequence[str]
) -> tuple[str, Version | None] | Version:
    """Finds the run of a version by the record of the version; without its folder, by the manifests of the runs."""
    made = _list_makers(workspace, runs, model)
    try:
        model_dir = find_model_dir(str(workspace.root), model)
    except UsageError:  # no version is left, or several models are there and none is named
        if text.isdecimal() and int(text) in made and len(made[int(text)]) == 1:
            return made[int(text)][0], None
        raise
    number = read_number(text, model_dir)
    present = versions.find_versions(model_dir) + versions.find_withdrawn(model_dir)
    for version in present:
        if version.number == number:
            run_id = version.record.run_id
            return (run_id, version) if run_id and run_id in runs else version
    if number in made:
        return made[number][-1], None
    known = sorted({*made, *(version.number for version in present)})
    raise UsageError(
        f"{model_dir}: no version {number}. {_name_versions(number, list(map(str, known)))}. A version is named by the "
        "number that ./graft releases lists, a run by the id that ./graft runs lists."
    )


def _list_makers(workspace: Workspace, runs: Sequence[str], model: str | None) -> dict[int, list[str]]:
    """Returns the ids of the runs that pushed, oldest first, by version."""
    made: dict[int, list[str]] = {}
    for run_id in runs:
        manifest = workspace.read_manifest(run_id)
        if manifest and manifest.pushed_now and manifest.pushed_version is not None:
            name = (manifest.config.model_extra or {}).get("model_name")
            if model is None or name in (None, model):
                made.setdefault(manifest.pushed_version, []).append(run_id)
    return made


def _name_versions(number: int | None, known: Sequence[str]) -> str:
    """Returns a sentence on the versions, without its period: all of them, or of many the most similar."""
    if len(known) == 1:
        return f"There is one alone: {known[0]}"
    return f"There are: {', '.join(known)}" if len(known) <= _FEW else f"The nearest: {_propose(str(number), known)}"


def _propose(text: str, names: Sequence[str]) -> str:
    """Returns the names that are most similar to a text; without similar names, the newest."""
    return list_some(difflib.get_close_matches(text, names, 3, _ALIKE) or list(names)[:-4:-1])
