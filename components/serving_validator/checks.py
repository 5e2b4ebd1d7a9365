"""Checks of the ServingValidator on a served model's answers; each returns a description of the first problem or ""."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schema.text import list_some
from serving.export.calibration import scale_tolerance
from serving.export.explanation import STRIDE
from serving.export.signatures import CONTRACT, PIXELS

# Largest accepted difference of a probability. The same build of TensorFlow differed by 5e-7 at the same batch size,
# and by 1.2e-5 between batch sizes (on a base with random weights, which increases differences). Another build rounds
# differently at any batch size.
TOLERANCE, TOLERANCE_OF_ANOTHER_BUILD = 1e-5, 1e-3
_SUM_TOLERANCE = 1e-4
SCORE = "score"  # of an image, in the outputs of this process
_SHOWN = 5

Outputs = Mapping[str, np.ndarray]


def check_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Compares the signatures in a server's metadata with the contract.

    Args:
        metadata: metadata in the form of the REST API.
    Returns:
        A problem for each signature that is missing or has other tensors. Additional signatures are accepted.
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


def check_outputs(
    outputs: Outputs,
    expected: Outputs,
    classes: Sequence[str],
    tolerance: float = TOLERANCE,
    threshold: float | None = None,
) -> str:
    """Compares a server's predictions with those of the model in this process.

    Args:
        outputs: the server's `probabilities` [N, C], `label` [N], `classes` [N, C] and `accepted` [N].
        expected: outputs of the signature `examples` in this process, in batches of the same size, and with a threshold
            the score of each image as `score` [N].
        classes: class names, in the order of the outputs.
        tolerance: largest accepted difference of a probability.
        threshold: least score of an accepted image; None if all are accepted.
    Returns:
        The first problem, or "".
    """
    return (
        _check_shapes(outputs, expected, classes)
        or _check_classes(outputs, classes)
        or _check_probabilities(outputs, expected, tolerance)
        or _check_labels(outputs, expected, classes, tolerance)
        or _check_accepted(outputs, expected, tolerance, threshold)
    )


def read_image_size(metadata: Mapping[str, Any]) -> int:
    """Returns the side of the network's input in pixels, from a server's metadata.

    Raises:
        KeyError: if there is no signature PIXELS.
    """
    signature = metadata["metadata"]["signature_def"]["signature_def"][PIXELS]
    return int(signature["inputs"][PIXELS]["tensor_shape"]["dim"][1]["size"])


def check_heat_maps(heat_maps: np.ndarray, count: int, image_size: int) -> str:
    """Checks shape and values of heat maps.

    Args:
        heat_maps: the server's heat maps.
        count: number of images that were sent.
        image_size: side of the network's input in pixels; a cell of a heat map is for 32 of them, or for the rest.
    Returns:
        The first problem, or "".
    """
    side = -(-image_size // STRIDE)
    if heat_maps.shape != (count, side, side):
        return f"heatmap has the shape {list(heat_maps.shape)}; expected {[count, side, side]}"
    wrong = heat_maps[~((heat_maps >= 0) & (heat_maps <= 1))]  # "not" around it, because NaN is wrong, too
    return f"a heat map has the value {wrong[0]:.4g}; expected 0 to 1" if wrong.size else ""


def check_agreement(one: Outputs, other: Outputs) -> str:
    """Compares two predictions for the same images, whose shapes `check_outputs` has checked."""
    difference = _largest_difference(one, other)
    return "" if difference <= TOLERANCE else f"differ by up to {difference:.2g}"


def _check_shapes(outputs: Outputs, expected: Outputs, classes: Sequence[str]) -> str:
    count = len(expected["label"])
    wide = count, len(classes)
    shapes = {"probabilities": wide, "label": (count,), "classes": wide, "accepted": (count,)}
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
    wrong = sums[~(np.abs(sums - 1) <= _SUM_TOLERANCE)]  # "not <=" instead of ">", because NaN is wrong, too
    if wrong.size:
        return f"the probabilities of an image add up to {wrong[0]:.4g}; expected 1"
    difference = _largest_difference(outputs, expected)
    if not difference <= tolerance:
        return f"probabilities are off by up to {difference:.2g} from those of `examples` in this process"
    return ""


def _check_labels(outputs: Outputs, expected: Outputs, classes: Sequence[str], tolerance: float) -> str:
    """Checks that each label is the most probable class, or one of several within the tolerance."""
    for label, row in zip(decode(outputs["label"]), expected["probabilities"], strict=True):
        probable = [name for name, value in zip(classes, row, strict=True) if value >= row.max() - tolerance]
        if label not in probable:
            return f"an image is labelled {label!r} where {probable[0]!r} is the most probable"
    return ""


def _check_accepted(outputs: Outputs, expected: Outputs, tolerance: float, threshold: float | None) -> str:
    """Checks that each image is accepted if its score reaches the threshold, within the tolerance."""
    if threshold is None:
        return "" if outputs["accepted"].all() else "an image is not accepted; the threshold is none"
    for accepted, score in zip(outputs["accepted"], expected[SCORE], strict=True):
        above = (float(score) - threshold) / scale_tolerance(threshold)
        if not abs(above) <= tolerance and accepted != (above > 0):
            found = f"{'' if accepted else 'not '}accepted with the score {score:.4f}"
            return f"an image is {found}; the threshold is {threshold:.4f}"
    return ""


def _largest_difference(one: Outputs, other: Outputs) -> float:
    return float(np.abs(one["probabilities"] - other["probabilities"]).max())


def decode(values: np.ndarray) -> list[str]:
    """Returns the strings of a tensor [N]; gRPC delivers bytes, REST strings."""
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]


def _describe_tensor(info: Mapping[str, Any]) -> tuple[str, int | None]:
    """Returns type and rank of a tensor; the rank is None if it is unknown."""
    shape = info["tensor_shape"]
    return info["dtype"], None if shape.get("unknown_rank") else len(shape.get("dim", []))


def _list(tensors: Mapping[str, tuple[str, int | None]]) -> str:
    described = (f"{name} ({dtype}, rank {rank})" for name, (dtype, rank) in sorted(tensors.items()))
    return ", ".join(described) or "none"
