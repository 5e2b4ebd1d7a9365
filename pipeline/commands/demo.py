"""`./graft demo`: runs the whole pipeline on images that need no download."""

import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pipeline.commands.configured import output_options
from pipeline.config.here import DEMO_DATA, DEMO_OUT
from pipeline.console.printing import echo
from schema.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config.config import Config

_IMAGE_SIZE = 32
# A few minutes on two cores. The images have 8x8 pixels, and ResNet50 takes at least 32x32.
_FEW_MINUTES = {"image_size": _IMAGE_SIZE, "fine_tune_epochs": 1, "fine_tune_from": "conv5_block3"}


@click.command(short_help="Run the whole pipeline on real images, in a few minutes.")
@click.option("--out", default=DEMO_OUT, show_default=True, metavar="DIR", help="Workspace.")
@output_options
def demo(out: str, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Run the whole pipeline on real images of digits, in a few minutes.

    The 1797 images ship with scikit-learn. With ImageNet weights if they can be had, else with random ones.

    \b
    ./graft demo
    ./graft demo --out /tmp/demo --verbose
    """
    from pipeline.commands.session import Output, run_session

    config = make_config(out, lambda line: echo(line, err=quiet or as_json))
    sys.exit(run_session(config, None, Output(quiet, verbose, as_json)))


def make_config(out: str, echo_line: Callable[[str], object]) -> "Config":
    """Writes the digits into the workspace and chooses settings for a few minutes on two cores.

    Args:
        out: folder of the workspace.
        echo_line: called with a note if the demo has to use random weights.
    Returns:
        A configuration with the ImageNet weights if they can be fetched, else with random ones.
    """
    from components.network.weights import IMAGENET, RANDOM
    from pipeline.config.load import check_out, load_config
    from pipeline.downloads.sample import write_digits
    from pipeline.downloads.weights import find_weights
    from pipeline.workspace.workspace import prepare

    check_out(out)
    prepare(out)
    data = pathlib.Path(out) / DEMO_DATA
    if not data.is_dir():
        write_digits(str(data))
    try:
        find_weights(IMAGENET, _IMAGE_SIZE)
        weights = IMAGENET
    except UsageError:
        echo_line("The ImageNet weights cannot be fetched here: the demo goes on with RANDOM weights.")
        weights = RANDOM
    options = {"data": str(data), "out": out, "weights": weights, **_FEW_MINUTES}
    return load_config(None, options)
