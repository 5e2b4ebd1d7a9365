"""What a served model must answer: the checks of the ServingValidator. Each says what is wrong in words, or nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schema.text import list_some
from serving.export.signatures import CONTRACT

# Of a probability. The same TensorFlow differed by 5e-7 at the same size of batch, and between sizes by 1.2e-5 (a head
# on features of random weights, which magnifies). Another build rounds otherwise at any size.
TOLERANCE, TOLERANCE_OF_ANOTHER_BUILD = 1e-5, 1e-3
_SUM_TOLERANCE = 1e-4
_SHOWN = 5

Outputs = Mapping[str, np.ndarray]


def check_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Compares the signatures that a server tells of with the contract.

    Args:
        metadata: as the REST API has it.
    Returns:
        What a client that relies on the contract would stumble over; a signature more does no harm.
    """
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    problems = []
    for name, (inputs, outputs) in CONTRACT.items():
        if name not in signatures:
            problems.append(f"there is no signature {name}")
            continue
        for kind, expected in (("inputs", inputs), ("outputs", outputs)):
            found = {alias: _describe_tensor(info) for alias, info in signatures[name].get(kind, {}).items()}
            if found != expected:
                problems.append(f"the {kind} of {name} are {_list(found)}; expected {_list(expected)}")
    return problems


def check_outputs(outputs: Outputs, expected: Outputs, classes: Sequence[str], tolerance: float = TOLERANCE) -> str:
    """Compares what a server answers with what the model answers in this process.

    Args:
        outputs: `probabilities` [N, C], `label` [N] and `classes` [N, C].
        expected: the same of the signature `examples`, asked in batches of the same size.
        classes: the names in the order of the outputs.
        tolerance: of a probability.
    Returns:
        The first thing that is wrong, or "".
    """
    return (
        _check_shapes(outputs, expected, classes)
        or _check_classes(outputs, classes)
        or _check_probabilities(outputs, expected, tolerance)
        or _check_labels(outputs, expected, classes, tolerance)
    )


def check_agreement(one: Outputs, other: Outputs) -> str:
    """Compares two answers to the same question; shapes are checked before."""
    difference = _largest_difference(one, other)
    return "" if difference <= TOLERANCE else f"differ by up to {difference:.2g}"


def _check_shapes(outputs: Outputs, expected: Outputs, classes: Sequence[str]) -> str:
    count = len(expected["label"])
    shapes = {"probabilities": (count, len(classes)), "label": (count,), "classes": (count, len(classes))}
    for name, shape in shapes.items():
        if outputs[name].shape != shape:
            return f"{name} has the shape {list(outputs[name].shape)}; expected {list(shape)}"
    return ""


def _check_classes(outputs: Outputs, classes: Sequence[str]) -> str:
    for row in outputs["classes"]:
        if (named := decode(row)) != list(classes):
            return f"the classes are {list_some(named, _SHOWN)}; expected {list_some(classes, _SHOWN)}"
    return ""


def _check_probabilities(outputs: Outputs, expected: Outputs, tolerance: float) -> str:
    sums = outputs["probabilities"].sum(axis=1)
    wrong = sums[~(np.abs(sums - 1) <= _SUM_TOLERANCE)]  # so written, NaN is wrong, too
    if wrong.size:
        return f"the probabilities of an image add up to {wrong[0]:.4g}; expected 1"
    difference = _largest_difference(outputs, expected)
    if not difference <= tolerance:
        return f"probabilities are off by up to {difference:.2g} from those of `examples` in this process"
    return ""


def _check_labels(outputs: Outputs, expected: Outputs, classes: Sequence[str], tolerance: float) -> str:
    """A label is the most probable class; of several that are as probable, any."""
    for label, row in zip(decode(outputs["label"]), expected["probabilities"], strict=True):
        probable = [name for name, value in zip(classes, row, strict=True) if value >= row.max() - tolerance]
        if label not in probable:
            return f"an image is labelled {label!r} where {probable[0]!r} is the most probable"
    return ""


def _largest_difference(one: Outputs, other: Outputs) -> float:
    return float(np.abs(one["probabilities"] - other["probabilities"]).max())


def decode(values: np.ndarray) -> list[str]:
    """Strings of a tensor [N], which are bytes by gRPC."""
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]


def _describe_tensor(info: Mapping[str, Any]) -> tuple[str, int | None]:
    """Its type and rank; None if the rank is not known."""
    shape = info["tensor_shape"]
    return info["dtype"], None if shape.get("unknown_rank") else len(shape.get("dim", []))


def _list(tensors: Mapping[str, tuple[str, int | None]]) -> str:
    described = (f"{name} ({dtype}, rank {rank})" for name, (dtype, rank) in sorted(tensors.items()))
    return ", ".join(described) or "none"
