"""Values that a run may set of a pipeline that is there: plain values for a local run, run parameters on Kubeflow."""

import dataclasses
from typing import Any

from tfx.types.component_spec import ComponentSpec, ExecutionParameter


@dataclasses.dataclass(frozen=True)
class RunParameters:
    """Values of a run.

    Each is a top-level execution property of the components that read it, for TFX takes a RuntimeParameter nowhere
    else; hence also no None.

    Attributes:
        data: folder of labelled images.
        window_end: newest date folder to read, or "".
        window_days: number of days up to it; 0 for all.
        head_epochs, fine_tune_epochs: of the two phases.
        min_accuracy: DEFAULT_MIN_ACCURACY for what follows from the data.
        max_accuracy_drop: how far below the live model a model is still pushed.
        min_new_images: DEFAULT_MIN_NEW_IMAGES for what follows from the window.
        max_label_drift, max_brightness_drift, max_embedding_drift: what the gates let pass.
        force: 1 to train in any case.
        model_dir: serving folder of the model, where versions are pushed to.
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

    def select(self, spec: type[ComponentSpec]) -> dict[str, Any]:
        """Returns the values that a component reads, by name."""
        return {name: value for name, value in vars(self).items() if name in spec.PARAMETERS}


def declare(*names: str) -> dict[str, ExecutionParameter]:
    """Returns the execution properties of a component that reads these values."""
    types = {field.name: field.type for field in dataclasses.fields(RunParameters)}
    return {name: ExecutionParameter(type=types[name]) for name in names}
