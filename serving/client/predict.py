"""Prediction of images by a pushed SavedModel, with TensorFlow alone: neither Keras nor TFX is imported."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from schema.errors import UsageError
from schema.text import printable
from serving.client.heat_maps import NO_HEAT_MAPS, HeatMap, check_cells, read_heat_map
from serving.client.refusals import explain_refusal
from serving.export import signatures
from serving.export.explanation import HEATMAP
from serving.process.output import echo, echo_json
from serving.releases import versions
from serving.releases.record import describe_classes, read_record
from serving.storage.regular import read_regular
from serving.storage.saved_model import SAVED_MODEL
from serving.storage.wildcards import check_plain

_BATCH = 32
_MAX_CHARACTERS = 200  # of an error message of TensorFlow


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Prediction for one image, or the reason why the image has none.

    Attributes:
        path: path of the image.
        label: most probable class; "" without a prediction.
        probabilities: probability by class name, 0 to 1.
        problem: reason for a missing prediction; "" otherwise.
        accepted: False for an image that is of none of these classes, by the model's threshold; True for a model of
            Graft 0.2.0, which has none.
        heat_map: parts of the image that speak for the class; None if it was not asked for.
        overlay: path of the picture with the heat map over the image; "" without one.
    """

    path: str
    label: str = ""
    probabilities: dict[str, float] = dataclasses.field(default_factory=dict)
    problem: str = ""
    accepted: bool = True
    heat_map: HeatMap | None = dataclasses.field(default=None, compare=False, repr=False)
    overlay: str = ""


def find_model(workspace: str) -> str:
    """Returns the folder of the newest pushed version in a workspace, of any model.

    Raises:
        UsageError: if the workspace has no pushed version.
    """
    folders = map(str, pathlib.Path(workspace, "serving").glob("*"))
    live = [version for folder in folders if (version := versions.find_live(folder))]
    if not live:
        raise versions.make_empty_error(workspace)
    return max(live, key=lambda version: version.number).path


def predict_files(model: str, paths: list[str], explain: bool = False) -> Iterator[Prediction]:
    """Predicts images in batches, and yields the predictions in the same order.

    An unreadable image gets a prediction with a `problem` and does not affect the other images.

    Args:
        model: folder of a SavedModel, or folder of versions.
        paths: paths of JPEG, PNG, GIF or BMP files.
        explain: True to ask for a heat map of each image as well.
    Raises:
        UsageError: if the folder has no model that can be loaded; with `explain`, if the model gives no heat maps,
            or those of one cell.
    """
    predict = load_signature(model, signatures.EXPLAIN if explain else signatures.SERVING)
    for start in range(0, len(paths), _BATCH):
        yield from _predict_batch(predict, paths[start : start + _BATCH])


def load_signature(model: str, name: str = signatures.SERVING) -> "tf.types.experimental.ConcreteFunction":
    """Loads a signature of a SavedModel, or of the live version in a folder of versions.

    Args:
        model: folder of the SavedModel, or of the versions.
        name: name of the signature.
    Raises:
        UsageError: if the folder has no model, the model cannot be loaded, its path is a pattern of file names, or it
            has no signature EXPLAIN, or heat maps of one cell.
    """
    path = find_version(model)
    check_plain(path, "model", "Rename or copy its folder.")
    try:
        loaded = tf.saved_model.load(path)
        found = loaded.signatures
        signature = found.get(name) if name == signatures.EXPLAIN else found[name]
    except (
        Exception
    ) as error:  # on a damaged file, TensorFlow raises OSError, OpError, ValueError, KeyError or IndexError
        reason = printable(" ".join(str(error).split())[:_MAX_CHARACTERS])
        raise UsageError(
            f"{path}: cannot be loaded, so it is damaged or no pushed model: {reason}. Name another."
        ) from error
    if signature is None:
        raise UsageError(f"{path}: {NO_HEAT_MAPS}")
    if name == signatures.EXPLAIN:
        check_cells(path, _list_dimensions(signature.structured_outputs.get(HEATMAP)))
    signature.owner = loaded  # a signature alone does not keep its variables alive
    return signature


def _list_dimensions(output: tf.TensorSpec | None) -> list[int | None]:
    return [] if output is None or output.shape.rank is None else output.shape.as_list()


def find_version(model: str) -> str:
    """Returns the folder of a SavedModel: `model` itself, or the live version in a folder of versions.

    Raises:
        UsageError: if `model` is neither.
    """
    if tf.io.gfile.exists(os.path.join(model, SAVED_MODEL)):
        return model
    live = versions.find_live(model)
    if live is None:
        raise UsageError(
            f"{model}: no model here. Expected a folder with {SAVED_MODEL}, "
            f"or one of numbered versions such as graft-out/serving/graft.{versions.describe_too_large(model)}"
        )
    return live.path


def describe_model(path: str) -> str:
    """Returns a line with model, version and workspace of a SavedModel, by its path, and the classes of its record."""
    version = pathlib.PurePath(path)
    name, serving = version.parent, version.parent.parent
    record, _ = read_record(os.path.join(path, versions.RECORD))
    classes = describe_classes(record.classes)
    if serving.name != "serving":
        return f"Model: {path}{classes}"
    return f"Model: {name.name}, version {version.name}, of the workspace {serving.parent}{classes}"


def print_predictions(predictions: Iterable[Prediction], as_json: bool) -> int:
    """Prints one line per prediction.

    Problems go to the standard error in text form, and to the standard output in JSON form.

    Returns:
        The number of images without a prediction.
    """
    failed = 0
    for prediction in predictions:
        failed += bool(prediction.problem)
        if as_json:
            echo_json(json.dumps(_as_fields(prediction), ensure_ascii=False))
        elif prediction.problem:
            echo(f"graft: {prediction.path}: {prediction.problem}", err=True)
        else:
            ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
            shown = "  ".join(f"{name} {probability:.3f}" for name, probability in ranked[:5])
            answer = prediction.label if prediction.accepted else f"none of these; nearest {prediction.label}"
            overlay = f"  -> {prediction.overlay}" if prediction.overlay else ""
            echo(f"{prediction.path}: {answer}  ({shown}){overlay}")
    return failed


def _as_fields(prediction: Prediction) -> dict[str, object]:
    if prediction.problem:
        return {"path": prediction.path, "error": prediction.problem}
    fields: dict[str, object] = {
        "path": prediction.path,
        "label": prediction.label,
        "accepted": prediction.accepted,
        "probabilities": prediction.probabilities,
    }
    return fields | ({"overlay": prediction.overlay} if prediction.overlay else {})


def _predict_batch(predict: "tf.types.experimental.ConcreteFunction", paths: list[str]) -> Iterator[Prediction]:
    try:
        contents = [read_regular(path) for path in paths]
        outputs = predict(**{signatures.IMAGE_BYTES: tf.constant(contents)})
    except (OSError, tf.errors.OpError) as error:
        if len(paths) == 1:
            yield Prediction(paths[0], problem=_explain(error))
            return
        for path in paths:  # one file is no image: predict each alone
            yield from _predict_batch(predict, [path])
        return
    classes = [name.decode() for name in outputs["classes"][0].numpy()]
    values = {name: tensor.numpy() for name, tensor in outputs.items()}
    for row, path in enumerate(paths):
        probabilities = dict(zip(classes, map(float, values["probabilities"][row]), strict=True))
        label, accepted = values["label"][row].decode(), is_accepted(values, row)
        yield Prediction(path, label, probabilities, accepted=accepted, heat_map=read_heat_map(values, row))


def is_accepted(outputs: Mapping[str, np.ndarray], row: int) -> bool:
    """Returns whether a model accepts an image; True for a model without the output, such as Graft 0.2.0's."""
    return bool(outputs["accepted"][row]) if "accepted" in outputs else True


def _explain(error: OSError | tf.errors.OpError) -> str:
    if isinstance(error, OSError):
        return explain_file(error)
    if isinstance(error, tf.errors.InvalidArgumentError):
        return explain_refusal(str(error.message))
    return str(error.message).splitlines()[0]


def explain_file(error: OSError) -> str:
    """Returns the reason why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder; expected images: name the files in it"
    return f"cannot be read: {error.strerror}"
