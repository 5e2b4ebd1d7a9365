"""The demo: the main job on real images that need no download."""

import pathlib
from collections.abc import Callable

from components.network.weights import IMAGENET, RANDOM
from pipeline.config.config import Config
from pipeline.config.load import check_out, load_config
from pipeline.downloads.sample import write_digits
from pipeline.downloads.weights import find_weights
from pipeline.workspace.workspace import prepare
from schema.errors import UsageError

_IMAGE_SIZE = 32
# On two cores. The images have 8x8 pixels, and ResNet50 takes no fewer than 32x32.
_FEW_MINUTES = {"image_size": _IMAGE_SIZE, "fine_tune_epochs": 1, "fine_tune_from": "conv5_block3"}


def make_config(out: str, say: Callable[[str], object]) -> Config:
    """Writes the digits into the workspace and chooses settings for a few minutes on two cores.

    Args:
        out: the workspace.
        say: called with a line where something is not as usual.
    Returns:
        A configuration with the ImageNet weights if they can be had, else with random ones.
    """
    check_out(out)
    prepare(out)
    data = pathlib.Path(out) / "digits"
    if not data.is_dir():
        write_digits(str(data))
    try:
        find_weights(IMAGENET, _IMAGE_SIZE)
        weights = IMAGENET
    except UsageError:
        say("The ImageNet weights cannot be fetched here: the demo goes on with RANDOM weights.")
        weights = RANDOM
    options = {"data": str(data), "out": out, "weights": weights, **_FEW_MINUTES}
    return load_config(None, options)
