"""The gates between data and training: each stops the run in one message that says which files, or what has drifted.

The DataGate reads the report of the ingest and the anomalies of ExampleValidator, which stops nobody by itself.
"""

import json
import os

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.artifacts import DataVerdict, IngestReport
from components.example_gen.lineage import describe_unread_record
from components.gates.data_checks import check_data, find_warnings
from components.gates.drift import (
    describe_damaged_moments,
    describe_damaged_statistics,
    find_embedding_drift,
    find_statistics_drift,
)
from components.records.gate_verdict import GateVerdict
from components.records.ingest import IngestSummary
from components.records.quarantine import read_quarantine
from schema.errors import DataError
from schema.features import SPLITS
from serving.releases import versions


@component
def DataGate(
    report: InputArtifact[IngestReport],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    verdict: OutputArtifact[DataVerdict],
    classes: Parameter[str],
    max_bad_fraction: Parameter[float],
    model_dir: Parameter[str],
    live: Parameter[str],
    max_label_drift: Parameter[float],
    max_brightness_drift: Parameter[float],
    force: Parameter[int],
    code_digest: Parameter[str],
) -> None:
    """Raises DataError if the data should not be trained on; else writes the warnings."""
    del code_digest  # in the cache key only
    ingest, left_out = IngestSummary.read(report.uri), read_quarantine(report.uri)
    problems = check_data(ingest, left_out, json.loads(classes), max_bad_fraction)
    problems = problems or read_anomalies(anomalies.uri)
    if problems:
        raise DataError(*problems)
    before = _find_comparable(model_dir, live, json.loads(classes))
    drifts = find_statistics_drift(statistics.uri, before, max_label_drift, max_brightness_drift) if before else []
    _refuse_drift(drifts, force)
    unread = describe_unread_record(versions.find_comparable(model_dir, live))
    unread += describe_damaged_statistics(before) if before else []
    GateVerdict(warnings=find_warnings(ingest) + drifts + unread).write(verdict.uri)


@component
def DriftGate(
    embeddings: InputArtifact[standard_artifacts.Examples],
    verdict: OutputArtifact[DataVerdict],
    classes: Parameter[str],
    model_dir: Parameter[str],
    live: Parameter[str],
    max_embedding_drift: Parameter[float],
    force: Parameter[int],
    code_digest: Parameter[str],
) -> None:
    """Raises DataError if the base sees other images than the live model's; else writes the warnings."""
    del code_digest
    before = _find_comparable(model_dir, live, json.loads(classes))
    drifts = find_embedding_drift(embeddings.uri, before, max_embedding_drift) if before else []
    _refuse_drift(drifts, force)
    unread = describe_damaged_moments(before) if before else []
    GateVerdict(warnings=drifts + unread).write(verdict.uri)


def _find_comparable(model_dir: str, live: str, classes: list[str]) -> versions.Version | None:
    """The live version, unless it is one of other classes: those are other images, and whoever names them knows."""
    before = versions.find_comparable(model_dir, live)
    return before if before and before.record.classes == classes else None


def _refuse_drift(drifts: list[str], force: int) -> None:
    if drifts and not force:
        raise DataError(*drifts)


def read_anomalies(uri: str) -> list[str]:
    """What ExampleValidator found, a line each."""
    lines = []
    for split in SPLITS:
        path = os.path.join(uri, f"Split-{split}", "SchemaDiff.pb")
        with tf.io.gfile.GFile(path, "rb") as file:
            anomalies = anomalies_pb2.Anomalies.FromString(file.read())
        for feature, info in sorted(anomalies.anomaly_info.items()):
            lines.append(f"{split}: {feature}: {info.description}")
        if anomalies.HasField("dataset_anomaly_info"):
            lines.append(f"{split}: {anomalies.dataset_anomaly_info.description}")
    return lines
