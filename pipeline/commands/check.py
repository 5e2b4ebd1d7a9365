"""`./graft check`: predicts classes, splits and problems of a run."""

from typing import TYPE_CHECKING, Any

import click

from pipeline import CONFIG_FILE
from pipeline.commands.configured import ConfiguredCommand
from pipeline.config.here import find_config
from pipeline.console.printing import echo_json, make_console
from schema.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from components.example_gen.layout import Listing
    from pipeline.check.check import Findings
    from pipeline.check.start import EarlyProblems
    from pipeline.config.config import Config


# The keys that what check says depends on, but for those of tables.
_KEYS = (
    *("out", "classes", "split_ratios", "max_bad_fraction", "max_megapixels", "follow_links"),
    *("window_end", "window_days", "image_size", "resize", "orientation", "fine_tune_epochs", "fine_tune_from"),
    *("trunk_gb", "min_accuracy", "model_name", "canary", "weights", "force"),
)


@click.command(cls=ConfiguredCommand, keys=_KEYS, short_help="Say what a run would make of a folder.")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--config", "file", metavar="FILE", help=f"TOML file.  [{CONFIG_FILE}, if it is there]")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Read N images, spread over all.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(data: str | None, file: str | None, sample: int | None, as_json: bool, **options: Any) -> int:
    """Read a folder as a run would, and say what a run would make of it. Writes nothing.

    Classes and splits, what would be left out and why, what is ignored, sizes of the images, disk, workspace. The exit
    code is 3 where a run would stop. The options below are those of ./graft run that change what is said.

    \b
    ./graft check photos/
    ./graft check photos/ --image-size 96 --out other-out
    ./graft check --sample 1000 photos/
    ./graft check                         the folder in graft.toml
    """
    from pipeline.config.load import load_config

    file = file or find_config()
    config = load_config(file, {"data": data, **options})
    console = make_console(quiet=as_json)
    listing, early = look_at_folder(config)
    from pipeline.check.report import print_findings, print_problems, print_verdict, render_json
    from pipeline.config.options import write_run_command

    print_problems(early.problems, console)  # before the images, whose reading may take minutes
    findings = inspect_folder(config, listing, early, console, sample or 0)
    if as_json:
        echo_json(render_json(findings))
    else:
        print_findings(findings, config, console)
        print_verdict(findings, write_run_command(data, file, options), console)
    return DataError.exit_code if findings.problems else 0


def look_at_folder(config: "Config") -> "tuple[Listing, EarlyProblems]":
    """Lists the files of a folder, and finds the problems that show without an image; imports no TensorFlow.

    Raises:
        DataError: if the folder has no class folders with images.
    """
    from components.example_gen.layout import list_images
    from pipeline.check.start import find_early

    listing = list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    return listing, find_early(config, listing)


def inspect_folder(
    config: "Config", listing: "Listing", early: "EarlyProblems", console: "Console", sample: int
) -> "Findings":
    """Reads the images of a folder, with a progress bar on a terminal.

    Args:
        config: with the folder.
        listing: files of the folder.
        early: problems that `look_at_folder` has found.
        console: console of the bar.
        sample: the most files to read; 0 to read all.
    """
    from components import progress
    from pipeline.local.progress_display import ProgressDisplay
    from serving.process.muting import muted_stderr

    display = ProgressDisplay(console)
    with muted_stderr(), display, progress.listen(display.update):  # libjpeg prints messages about damaged images
        display.start("Reading")
        from pipeline.check.check import inspect

        return inspect(config, listing, early, sample)
