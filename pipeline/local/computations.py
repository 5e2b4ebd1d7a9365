"""Device, precision, XLA and cores of the components of a run."""

from components.devices import describe, find_device
from components.records.computation import Computation
from components.records.embedding import EmbeddingSummary
from components.records.history import TrainingHistory
from pipeline.local.runner import Finished

_ON_PROCESSOR = ("ExampleGen", "StatisticsGen", "ServingValidator")


def describe_computations(components: list[Finished]) -> dict[str, Computation]:
    """Describes the computations of finished components by name, as `describe_computation` does."""
    described = {component.name: describe_computation(component) for component in components}
    return {name: computation for name, computation in described.items() if computation}


def describe_computation(component: Finished) -> Computation | None:
    """Describes the computation of a component, on the machine that started it: Beam's workers may have others.

    Returns:
        None for a component that only reads what others have computed, and for outputs of an earlier run.
    """
    if component.cached:
        return None
    if component.name == "Embedder":
        return EmbeddingSummary.read(component.outputs["embeddings"].uri).computation
    if component.name == "Trainer":
        return TrainingHistory.read(component.outputs["model_run"].uri).computation
    if component.name == "Evaluator":
        return describe(find_device())
    return describe() if component.name in _ON_PROCESSOR else None
