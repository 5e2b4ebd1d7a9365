"""Parameters that may differ from run to run of one pipeline: values in a local run, run parameters on Kubeflow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfx.types.component_spec import ComponentSpec, ExecutionParameter

from schema.errors import UsageError

NOT_GIVEN = -1.0  # a bound that is not set


@dataclasses.dataclass(frozen=True)
class RunParameters:
    """Parameters of a run.

    Each is a top-level execution property of the components that read it: TFX accepts a RuntimeParameter nowhere
    else. A RuntimeParameter cannot be None, so no value is None.

    Attributes:
        data: folder of labelled images.
        window_end: name of the newest date folder to read, or "".
        window_days: number of days to read, the last one is `window_end`; 0 for all.
        head_epochs, fine_tune_epochs: epochs of phase 1 and of phase 2.
        min_accuracy: least accuracy for a push, from 0 to 1; NOT_GIVEN for an accuracy better than chance.
        max_accuracy_drop: largest loss of accuracy against the live model for a push, from 0 to 1; or NOT_GIVEN.
        min_recall: least recall of each class for a push, from 0 to 1; or NOT_GIVEN.
        min_new_images: least number of new images for a training; DEFAULT_MIN_NEW_IMAGES to derive it from the window.
        max_label_drift, max_brightness_drift, max_embedding_drift: upper limits of the gates.
        force: 1 to train whatever the RetrainingGate finds, else 0.
        model_dir: serving folder of the model, to which versions are pushed.
    """

    data: str
    window_end: str
    window_days: int
    head_epochs: int
    fine_tune_epochs: int
    min_accuracy: float
    max_accuracy_drop: float
    min_recall: float
    min_new_images: int
    max_label_drift: float
    max_brightness_drift: float
    max_embedding_drift: float
    force: int
    model_dir: str

    def select(self, spec: type[ComponentSpec]) -> dict[str, Any]:
        """Returns the parameters that a component declares, by name."""
        return {name: value for name, value in vars(self).items() if name in spec.PARAMETERS}


def declare(*names: str) -> dict[str, ExecutionParameter]:
    """Returns the execution properties of a component that reads the named parameters."""
    types = {field.name: field.type for field in dataclasses.fields(RunParameters)}
    return {name: ExecutionParameter(type=types[name]) for name in names}


def read_share(parameters: Mapping[str, Any], name: str) -> float | None:
    """Reads a bound from the parameters of a run; returns None for NOT_GIVEN.

    `Config` checks the bounds of a local run; a run on Kubeflow takes any number.

    Raises:
        UsageError: if the bound is neither from 0 to 1 nor NOT_GIVEN.
    """
    value = float(parameters[name])
    if value == NOT_GIVEN:
        return None
    if not 0 <= value <= 1:
        raise UsageError(f"{name}: expected a number from 0 to 1, or {NOT_GIVEN:g} for none, got {value:g}.")
    return value
