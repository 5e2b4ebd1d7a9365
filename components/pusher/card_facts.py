"""Collects the contents of a model card from the artifacts of a run; a missing or damaged file leaves its part out."""

import dataclasses
import json
import os
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any, TypeVar

import tensorflow as tf
from absl import logging
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

from components.evaluator.answers import Answers, Share, measure_majority, select
from components.evaluator.slices import Slicing, slice_answers
from components.records.evaluation import EvaluationSummary
from components.records.image_figures import ImageFigures
from components.records.image_list import IMAGES, read_image_properties
from components.records.ingest import IngestSummary
from components.records.predictions import PREDICTIONS, read_predictions
from components.records.serving_verdict import ServingVerdict
from serving.export.signatures import EMBEDDED_EXAMPLES
from serving.storage.documents import DocumentError
from serving.storage.saved_model import SAVED_MODEL

_LIBRARIES = ("tensorflow", "keras", "tfx", "apache-beam", "tensorflow-model-analysis", "numpy")
_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """Metrics of a class on the test images.

    Attributes:
        name: name of the class.
        recall: right predictions among the images of the class.
        precision: right predictions among the predictions of the class.
        auc: area under the ROC curve against all other classes; None if it is undefined.
    """

    name: str
    recall: Share
    precision: Share
    auc: float | None


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """Contents of a model card that the record of the version does not have.

    Attributes:
        ingest: counts of ExampleGen.
        evaluation: summary of the Evaluator.
        classes: metrics by class.
        majority: largest class of the test images, and its share; None without images.
        slicings: divisions of the test images; empty if the predictions are missing.
        confidence: mean probability of the predicted classes; None if the predictions are missing.
        baseline: accuracy of the version that was live; None if the models were not compared.
        figures: sizes and brightness of all images; None if they are missing.
        serving: verdict of the ServingValidator; None if the model was not tried in a server.
        fine_tuned: whether layers of the base were trained; None if the SavedModel cannot be read.
        libraries: name and version of Python and of each library.
        machine: operating system and processor architecture.
    """

    ingest: IngestSummary
    evaluation: EvaluationSummary
    classes: list[ClassRow]
    majority: tuple[str, Share] | None
    slicings: list[Slicing]
    confidence: float | None
    baseline: Share | None
    figures: ImageFigures | None
    serving: ServingVerdict | None
    fine_tuned: bool | None
    libraries: list[tuple[str, str]]
    machine: str


def gather_facts(
    model: str, evaluation: str, report: str, infra_blessing: str, summary: EvaluationSummary
) -> CardFacts:
    """Reads the artifacts of a run.

    Args:
        model: folder of the SavedModel.
        evaluation: folder of the Evaluator's artifact, with the predictions of the test images.
        report: folder of ExampleGen's report.
        infra_blessing: folder of the ServingValidator's artifact.
        summary: summary of the Evaluator.
    """
    ingest = IngestSummary.read(report)
    predictions = _try(lambda: _read_answers(evaluation))
    properties = _try(lambda: read_image_properties(os.path.join(report, IMAGES)))
    return CardFacts(
        ingest=ingest,
        evaluation=summary,
        classes=_list_classes(summary),
        majority=measure_majority(summary),
        slicings=slice_answers(predictions, ingest.spans, properties) if predictions else [],
        confidence=float(predictions.confidence.mean()) if predictions and predictions.path else None,
        baseline=_find_baseline(summary),
        figures=_try(lambda: ImageFigures.find(report)),
        serving=_try(lambda: ServingVerdict.find(infra_blessing)),
        fine_tuned=_is_fine_tuned(model),
        libraries=_list_libraries(),
        machine=f"{platform.system()} {platform.machine()}",
    )


def _try(read: Callable[[], _Value]) -> _Value | None:
    """Reads a file; a damaged one is logged, because it must not keep a good model from being pushed."""
    try:
        return read()
    except (DocumentError, OSError, tf.errors.OpError) as error:
        logging.warning("model card: %s", error)
        return None


def _read_answers(evaluation: str) -> Answers | None:
    path = os.path.join(evaluation, PREDICTIONS)
    return select(read_predictions(path)) if tf.io.gfile.exists(path) else None


def _list_classes(summary: EvaluationSummary) -> list[ClassRow]:
    rows = []
    for index, (name, metrics) in enumerate(summary.classes.items()):
        row, column = summary.confusion_matrix[index], [row[index] for row in summary.confusion_matrix]
        hits = row[index]
        rows.append(ClassRow(name, Share(hits, sum(row)), Share(hits, sum(column)), metrics.auc))
    return rows


def _find_baseline(summary: EvaluationSummary) -> Share | None:
    before = summary.baseline
    if not before or before.accuracy is None or not before.images:
        return None
    return Share(round(before.accuracy * before.images), before.images)


def _is_fine_tuned(model: str) -> bool | None:
    """Tells from the signatures: embeddings of the frozen base fit only a model that was not fine-tuned."""
    try:
        with tf.io.gfile.GFile(os.path.join(model, SAVED_MODEL), "rb") as file:
            graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    except message.DecodeError:
        return None
    return EMBEDDED_EXAMPLES not in graphs[0].signature_def if graphs else None


def _list_libraries() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for name in _LIBRARIES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def list_settings(config: dict[str, Any], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns some values of a configuration as JSON, by name; leaves unknown names out."""
    return [(name, json.dumps(config[name], ensure_ascii=False)) for name in names if name in config]
