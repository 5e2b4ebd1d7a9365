"""`./graft report`: names or opens the page of a run."""

import click

from pipeline.commands.configured import model_options
from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo


@click.command(short_help="Show the page of a run.")
@click.argument("name", required=False, metavar="[RUN]")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@model_options
def report(name: str | None, opens: bool, out: str | None, model: str | None) -> None:
    """Print the path of a run's page, report.html; make the page if it is missing.

    RUN is the id of a run, or the number of a pushed version with or without a "v" before it. Without RUN it is the
    newest run.

    \b
    ./graft report --open
    ./graft report 20261125T130749-090Z-3f2a
    ./graft report v1795612102 --open
    """
    import pathlib

    from pipeline.console.browser import open_page
    from pipeline.runs.page import find_page
    from pipeline.workspace.workspace import Workspace

    page = find_page(Workspace(pathlib.Path(out or choose_workspace())), name, model)
    if opens and not open_page(page):
        echo("No browser is here. The page:", err=True)
    echo(str(page))
