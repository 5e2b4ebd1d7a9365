"""What a run may set of a pipeline that is already there: plain values for a local run, run parameters on Kubeflow."""

import dataclasses
import os

from components.evaluator.threshold import DEFAULT_MIN_ACCURACY
from components.gates.retraining import DEFAULT_MIN_NEW_IMAGES
from pipeline.config.config import Config
from serving.storage.gfile import is_remote


@dataclasses.dataclass(frozen=True)
class RunParameters:
    """Each a top-level execution property, for TFX takes a RuntimeParameter nowhere else; hence also no None.

    Attributes:
        data: folder of labelled images.
        window_end: newest date folder to read, or "".
        window_days: how many days up to it; 0 for all.
        head_epochs, fine_tune_epochs: of the two phases.
        min_accuracy: DEFAULT_MIN_ACCURACY for what follows from the data.
        max_accuracy_drop: how far below the live model.
        min_new_images: DEFAULT_MIN_NEW_IMAGES for what follows from the window.
        max_label_drift, max_brightness_drift, max_embedding_drift: what the gates let pass.
        force: 1 to train in any case.
        model_dir: where versions are pushed to.
    """

    data: str
    window_end: str
    window_days: int
    head_epochs: int
    fine_tune_epochs: int
    min_accuracy: float
    max_accuracy_drop: float
    min_new_images: int
    max_label_drift: float
    max_brightness_drift: float
    max_embedding_drift: float
    force: int
    model_dir: str


def make_parameters(config: Config, window_end: str, model_dir: str) -> RunParameters:
    """The values of a configuration.

    Args:
        config: what the user asked for.
        window_end: newest date folder to read, or "".
        model_dir: where versions are pushed to.
    """
    min_accuracy, min_new_images = config.min_accuracy, config.min_new_images
    return RunParameters(
        data=absolute(config.data),
        window_end=window_end,
        window_days=config.window_days or 0,
        head_epochs=config.head_epochs,
        fine_tune_epochs=config.fine_tune_epochs,
        min_accuracy=DEFAULT_MIN_ACCURACY if min_accuracy is None else min_accuracy,
        max_accuracy_drop=config.max_accuracy_drop,
        min_new_images=DEFAULT_MIN_NEW_IMAGES if min_new_images is None else min_new_images,
        max_label_drift=config.max_label_drift,
        max_brightness_drift=config.max_brightness_drift,
        max_embedding_drift=config.max_embedding_drift,
        force=int(config.force),
        model_dir=model_dir,
    )


def absolute(path: str) -> str:
    """The same folder or file from anywhere; what is in a store is so already."""
    return path if is_remote(path) else os.path.abspath(path)
