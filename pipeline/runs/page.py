"""Finds the page of a run, and makes it if it is missing."""

import pathlib

from pipeline.runs.find import find_newest, find_run
from pipeline.workspace.workspace import PAGE, Workspace
from schema.errors import UsageError
from serving.releases.versions import Version


def find_page(workspace: Workspace, name: str | None, model: str | None) -> pathlib.Path:
    """Returns the path of a run's page; makes the page from the files of the run if it is missing.

    Args:
        workspace: workspace of the runs.
        name: id of a run or number of a version, as for `find_run`; None for the newest run.
        model: name of the model of a version; None for the only one.
    Raises:
        UsageError: if there is no such run, the run is still going on, or the page cannot be written.
    """
    found = find_run(workspace, name, model) if name else (find_newest(workspace), None)
    if isinstance(found, Version):
        raise UsageError(
            f"version {found.number}: its run is gone, and its page with it. ./graft runs lists the other runs."
        )
    run_id = found[0]
    if run_id == workspace.find_running():
        raise UsageError(
            f"{run_id}: this run is still going on, and writes its page at its end. Name another, or wait."
        )
    page = workspace.runs / run_id / PAGE
    if not page.is_file():
        from pipeline.report.page import write_report  # imports matplotlib

        try:
            write_report(workspace, run_id)
        except OSError as error:
            raise UsageError(f"{page}: cannot be written: {error.strerror}.") from None
    return page
