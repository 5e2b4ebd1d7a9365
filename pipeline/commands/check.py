"""`./graft check`: predicts classes, splits and problems of a run."""

from typing import TYPE_CHECKING

import click

from pipeline import CONFIG_FILE
from pipeline.config.here import find_config
from pipeline.console.printing import echo_json, make_console
from schema.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.check.check import Findings
    from pipeline.config.config import Config


@click.command(short_help="Say what a run would make of a folder.")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--config", "file", metavar="FILE", help=f"TOML file.  [{CONFIG_FILE}, if it is there]")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Read N images, spread over all.  [all]")
@click.option("--follow-links", is_flag=True, default=None, help="Follow links that lead out of the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(data: str | None, file: str | None, sample: int | None, follow_links: bool | None, as_json: bool) -> int:
    """Read a folder as a run would, and say what a run would make of it. Writes nothing.

    Classes and splits, what would be left out and why, what is ignored, sizes of the images, disk. The exit code is 3
    where a run would stop.

    \b
    ./graft check photos/
    ./graft check --sample 1000 photos/
    ./graft check                         the folder in graft.toml
    """
    from pipeline.config.load import load_config

    file = file or find_config()
    config = load_config(file, {"data": data, "follow_links": follow_links})
    console = make_console(quiet=as_json)
    findings = inspect_folder(config, console, sample or 0)
    from pipeline.check.report import make_next_command, print_findings, print_verdict, render_json

    if as_json:
        echo_json(render_json(findings))
    else:
        print_findings(findings, config, console)
        print_verdict(findings, make_next_command(data, file, follow_links), console)
    return DataError.exit_code if findings.problems else 0


def inspect_folder(config: "Config", console: "Console", sample: int) -> "Findings":
    """Reads the images of a folder, with a progress bar on a terminal.

    Lists the files first, so that a wrong folder is refused before TensorFlow is imported.

    Args:
        config: with the folder.
        console: console of the bar.
        sample: the most files to read; 0 to read all.
    Raises:
        DataError: if the folder has no class folders with images.
    """
    from components import progress
    from components.example_gen.layout import list_images
    from pipeline.local.progress_display import ProgressDisplay
    from serving.process.muting import muted_stderr

    listing = list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    display = ProgressDisplay(console)
    with muted_stderr(), display, progress.listen(display.update):  # libjpeg prints messages about damaged images
        display.start("Reading")
        from pipeline.check.check import inspect

        return inspect(config, listing, sample)
