"""`./graft compare`: compares two runs or versions."""

import click

from pipeline.commands.configured import model_options
from pipeline.config.here import choose_workspace
from pipeline.console.printing import echo, echo_json, make_console


@click.command(short_help="Compare two runs or versions: data, configuration, code, predictions.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--page", metavar="FILE", help="Write the comparison as a page, too.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser; it lies beside B's report by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@model_options
def compare(a: str, b: str, page: str | None, opens: bool, as_json: bool, out: str | None, model: str | None) -> None:
    """Compare two runs: images, configuration, code, libraries, metrics, and the test images with another prediction.

    A and B are ids of runs, or numbers of pushed versions with or without a "v" before them; A is the earlier one.
    Beside each image with another prediction stand the nearest images that B trained on and A did not.

    \b
    ./graft compare v1795612102 v1795698502
    ./graft compare 1795698502 20261125T130749-090Z-3f2a --open
    ./graft compare v1795612102 v1795698502 --json
    """
    import pathlib

    from pipeline.compare.compare import compare as compare_runs
    from pipeline.compare.sides import find_side
    from pipeline.workspace.workspace import Workspace

    workspace = Workspace(pathlib.Path(out or choose_workspace()))
    before, now = (find_side(workspace, name, model) for name in (a, b))
    comparison = compare_runs(workspace, before, now)
    target = None
    if page or opens:
        from pipeline.compare.page import name_page, write_page

        target = pathlib.Path(page) if page else name_page(workspace, before, now)
        write_page(workspace, before, now, comparison, target)
    if as_json:
        echo_json(comparison.model_dump_json(indent=1))
    else:
        from pipeline.compare.text import print_comparison

        print_comparison(comparison, make_console())
    if target:
        from pipeline.console.browser import open_page

        missing = opens and not open_page(target)
        echo(f"Page:     {target}{'  (no browser is here)' if missing else ''}", err=as_json)
