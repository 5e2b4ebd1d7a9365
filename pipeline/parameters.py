"""Builds the run parameters from a configuration."""

import os

from components.gates.retraining import DEFAULT_MIN_NEW_IMAGES
from components.run_parameters import NOT_GIVEN, RunParameters
from pipeline.config.config import Config
from serving.storage.gfile import is_remote


def make_parameters(config: Config, window_end: str, model_dir: str) -> RunParameters:
    """Builds the run parameters from a configuration.

    Args:
        config: the user's configuration.
        window_end: newest date folder to read, or "".
        model_dir: folder of the pushed versions.
    """
    min_new_images = config.min_new_images
    return RunParameters(
        data=absolute(config.data),
        window_end=window_end,
        window_days=config.window_days or 0,
        head_epochs=config.head_epochs,
        fine_tune_epochs=config.fine_tune_epochs,
        min_accuracy=_or_not_given(config.min_accuracy),
        max_accuracy_drop=_or_not_given(config.max_accuracy_drop),
        min_recall=_or_not_given(config.min_recall),
        min_new_images=DEFAULT_MIN_NEW_IMAGES if min_new_images is None else min_new_images,
        max_label_drift=config.max_label_drift,
        max_brightness_drift=config.max_brightness_drift,
        max_embedding_drift=config.max_embedding_drift,
        force=int(config.force),
        model_dir=model_dir,
    )


def _or_not_given(bound: float | None) -> float:
    return NOT_GIVEN if bound is None else bound


def absolute(path: str) -> str:
    """Returns the absolute path of a local folder or file, and a URI unchanged."""
    return path if is_remote(path) else os.path.abspath(path)
