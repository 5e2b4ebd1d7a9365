"""`./graft run`: trains, evaluates and pushes."""

import sys
from typing import Any

import click

from pipeline import CONFIG_FILE
from pipeline.commands.configured import ConfiguredCommand, output_options
from pipeline.config.here import find_config
from pipeline.console.printing import echo, echo_json


@click.command(cls=ConfiguredCommand, short_help="Train on a folder of images, evaluate, and push.")
@click.argument("folder", required=False, metavar="[DATA]")
@click.option(
    "--config", "file", metavar="FILE", help=f"TOML file; options override it.  [{CONFIG_FILE}, if it is there]"
)
@click.option("--print-config", is_flag=True, help="Show each value in effect and its origin, and do no more.")
@click.option(
    "--require-push",
    is_flag=True,
    help="Exit with 4 unless the model of this run is live in the end (or, with --canary, the canary).",
)
@output_options
def run(
    folder: str | None,
    file: str | None,
    print_config: bool,
    require_push: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train on a folder of images, evaluate, and push.

    \b
    ./graft run photos/
    ./graft run photos/ --weights random --fine-tune-epochs 0
    ./graft run photos/ --class-weights balanced
    ./graft run daily/ --window-days 30     date folders: daily/2026-11-23/cats/
    ./graft run --quiet --require-push      from cron, with a graft.toml
    """
    from pipeline.config.load import load_with_sources

    file = file or find_config()
    names = {name.replace("__", "."): value for name, value in options.items()}
    names["data"] = names["data"] or folder
    config, sources = load_with_sources(file, names)
    if print_config:
        from pipeline.config.reference import render_effective, render_effective_json

        if as_json:
            echo_json(render_effective_json(config, sources))
        else:
            echo(*render_effective(config, sources).split("\n"))
        return
    from pipeline.commands.session import Output, run_session

    sys.exit(run_session(config, file, Output(quiet, verbose, as_json), require_push))
