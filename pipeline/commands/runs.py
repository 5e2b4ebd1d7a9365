"""`./graft runs`: lists the runs of a workspace."""

import click

from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo_json, make_console


@click.command(short_help="List the runs: outcome, accuracy, images, time, version.")
@click.option("--out", metavar="DIR", help="Workspace.  [that of ./graft run here, or of the demo]")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Newest runs to list."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def runs(out: str | None, limit: int, as_json: bool) -> None:
    """List the runs, newest first: begin, outcome, accuracy on test with its 95 % interval, images, time, version.

    \b
    ./graft runs
    ./graft runs --limit 100
    ./graft runs --json --out graft-demo
    """
    import pathlib

    from pipeline.runs.run_list import list_runs, print_runs
    from pipeline.workspace.workspace import Workspace

    listed = list_runs(Workspace(pathlib.Path(out or choose_workspace())), limit)
    if as_json:
        echo_json(listed.model_dump_json(indent=1))
    else:
        print_runs(listed, make_console())
