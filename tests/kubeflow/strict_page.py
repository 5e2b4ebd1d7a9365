"""Kubeflow's page of a task: which outputs it shows, how, and what it or the launcher refuses.

Read in github.com/kubeflow/pipelines:

- frontend/src/components/viewers/MetricsVisualizations.tsx at 02a5c70a: with ML Metadata;
- RuntimeMetricsVisualizations.tsx beside it at 0029bf50, and `uploadOutputArtifacts` in backend/src/v2/component/
  launcher_v2.go of the same time: without ML Metadata. `getScalarMetricEntries` is in frontend/src/lib/v2/
  RuntimeArtifactUtils.ts.
- MarkdownViewer.tsx, HTMLViewer.tsx beside them.

A page that would show an error fails the task here, which is stricter than the backend.
"""

import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format

METRICS, CLASSIFICATION = "system.Metrics", "system.ClassificationMetrics"
FILES = {"system.HTML": "Static HTML", "system.Markdown": "Static Markdown"}
SHOWN = (METRICS, CLASSIFICATION, *FILES)
MOST_MARKDOWN = 400_000  # MarkdownViewer.tsx, MAX_MARKDOWN_STR_LENGTH
_POINT = ("confidenceThreshold", "falsePositiveRate", "recall")


class PageError(Exception):
    """Error of the launcher, or on the page."""


def check_artifact(key: str, artifact: Any, file: pathlib.Path) -> None:
    """Checks an output of one of the shown types; passes any other.

    Args:
        key: name of the output.
        artifact: RuntimeArtifact with the type of the spec, and the URI and metadata of the executor.
        file: local path of the object at the URI.
    Raises:
        PageError: if the launcher or the page would refuse the artifact.
    """
    title = artifact.type.schema_title
    if title not in SHOWN:
        return
    for name, value in _walk(artifact.metadata.fields.items()):
        if value.WhichOneof("kind") == "number_value" and not math.isfinite(value.number_value):
            raise PageError(f"{key}: {name} is {value.number_value}, which has no form in JSON")
    metadata = json_format.MessageToDict(artifact.metadata)
    if title == METRICS:
        _check_metrics(metadata)
        return
    if not metadata.get("display_name", key):
        raise PageError(f"{key}: display_name is empty, so the page leaves the artifact out")
    if title == CLASSIFICATION:
        _check_classification(key, metadata)
    elif not file.is_file():
        raise PageError(f"{key}: the URI {artifact.uri} is no object, but {'a folder' if file.is_dir() else 'nothing'}")
    elif title == "system.Markdown" and len(file.read_text(encoding="utf-8")) > MOST_MARKDOWN:
        raise PageError(f"{key}: this markdown is too large to render completely")


def _walk(fields: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields each value with the name of its property, and those inside it."""
    for name, value in fields:
        yield name, value
        kind = value.WhichOneof("kind")
        inner = value.list_value.values if kind == "list_value" else value.struct_value.fields.values()
        yield from _walk((name, part) for part in inner)


def _check_metrics(metadata: Mapping[str, Any]) -> None:
    """Each property is a metric of its own: uploadOutputArtifacts."""
    for name, value in metadata.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PageError(f'metric value "{name}" must be a number, got {type(value).__name__}')


def _check_classification(key: str, metadata: Mapping[str, Any]) -> None:
    matrix, points = metadata.get("confusionMatrix"), metadata.get("confidenceMetrics")
    if not matrix and not points:
        raise PageError(f"{key}: neither confusionMatrix nor confidenceMetrics, so the page leaves the artifact out")
    if matrix is not None:
        _check_matrix(matrix)
    if points is not None:
        _check_points(points)


def _check_matrix(matrix: Any) -> None:
    """Checks a matrix as `validateConfusionMatrix` does."""
    if not isinstance(matrix, dict) or {"annotationSpecs", "rows"} - matrix.keys():
        raise PageError("confusionMatrix must contain annotationSpecs and rows arrays")
    specs, rows = matrix["annotationSpecs"], matrix["rows"]
    if not all(isinstance(spec.get("displayName"), str) for spec in specs):
        raise PageError("every annotationSpec must have a string displayName")
    if len(specs) != len(rows):
        raise PageError(f"annotationSpecs has different length {len(specs)} than rows length {len(rows)}")
    for row in rows:
        if len(row["row"]) != len(rows):
            raise PageError(f"row: {row} has different length of columns from rows")
        if not all(_is_number(cell) for cell in row["row"]):
            raise PageError(f"row: {row} has a cell that is no number")


def _check_points(points: Any) -> None:
    """Checks points as `validateConfidenceMetrics` does, and that the curve does not turn back."""
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise PageError("confidenceMetrics: expected an array of objects")
    for point in points:
        if not all(_is_number(point.get(name)) for name in _POINT):
            raise PageError(f"confidenceMetrics: expected numbers {', '.join(_POINT)}, got {point}")
    for name in _POINT[1:]:
        values = [point[name] for point in points]
        if values != sorted(values):
            raise PageError(f"confidenceMetrics: {name} falls")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_page(outputs: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], read: Any) -> list[str]:
    """Describes the page of a task, a line for each part, in the order of the page.

    Args:
        outputs: RuntimeArtifact as JSON by key, as the metadata store has it: lists and structures are wrapped.
        titles: title of each output's type, by key.
        read: function from a URI to the text of the object.
    """
    lines = []
    for title in (CLASSIFICATION, METRICS, *FILES):
        for key in (key for key in outputs if titles.get(key) == title):
            metadata = outputs[key]["metadata"]
            name = metadata["display_name"]
            if title == CLASSIFICATION:
                lines += _describe_classification(name, metadata)
            elif title == METRICS:
                lines.append(f"Scalar Metrics: {name}")
                lines += [f"  {metric} = {value}" for metric, value in sorted(metadata.items()) if _is_number(value)]
            else:
                text = read(outputs[key]["uri"])
                lines.append(f"{FILES[title]}: {outputs[key]['uri'].rpartition('/')[2]}, {len(text):,} characters")
                lines += [f"  | {line}" for line in text.splitlines()] if title == "system.Markdown" else []
    return lines


def _describe_classification(name: str, metadata: Mapping[str, Any]) -> list[str]:
    lines = []
    if "confidenceMetrics" in metadata:
        points = metadata["confidenceMetrics"]["list"]
        lines.append(f"ROC Curve: {name}, {len(points)} points")
        lines += ["  at {:.4f}: false positives {:.3f}, recall {:.3f}".format(*map(p.get, _POINT)) for p in points[:5]]
    if "confusionMatrix" in metadata:
        matrix = metadata["confusionMatrix"]["struct"]
        labels = [spec["displayName"] for spec in matrix["annotationSpecs"]]
        lines.append(f"Confusion Matrix: {name} (rows True label, columns Predicted label: {', '.join(labels)})")
        lines += [f"  {label}: {row['row']}" for label, row in zip(labels, matrix["rows"], strict=True)]
    return lines
