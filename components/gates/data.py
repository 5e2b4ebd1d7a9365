"""DataGate and DriftGate: each stops a run before the training, with one message that lists all problems.

The DataGate reads ExampleGen's report and ExampleValidator's anomalies. ExampleValidator itself stops no run.
"""

import os
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

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
from components.run_parameters import RunParameters, declare, read_share
from schema.errors import DataError
from schema.features import SPLITS
from serving.releases import versions
from serving.storage.documents import Fields


class DataGateSettings(Fields):
    """Settings of the DataGate that no run may set.

    Attributes:
        live: identity of the live version; "none" if no version is live, or "" to look the live version up.
        classes: class names, in the order of the outputs.
        max_bad_fraction: share of the files that may be broken, 0 to 1.
        orientation: "ignore" if images are trained on as stored, whatever their EXIF orientation; else "exif".
    """

    live: str
    classes: list[str]
    max_bad_fraction: float
    orientation: str = "exif"


class DataGateSpec(ComponentSpec):
    """Inputs, outputs and parameters of the DataGate."""

    PARAMETERS = {
        **declare("model_dir", "min_accuracy", "max_label_drift", "max_brightness_drift", "force"),
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "report": ChannelParameter(type=IngestReport),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"verdict": ChannelParameter(type=DataVerdict)}


class DataGateExecutor(base_executor.BaseExecutor):
    """Executor that checks files, classes and splits first, and then drift, which they may cause."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the data and writes the warnings as the verdict.

        Raises:
            DataError: if the data should not be trained on.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = DataGateSettings.model_validate_json(exec_properties["settings"])
        report, statistics, anomalies = (
            artifact_utils.get_single_uri(input_dict[key]) for key in ("report", "statistics", "anomalies")
        )
        ingest = IngestSummary.read(report)
        left_out, min_accuracy = read_quarantine(report), read_share(exec_properties, "min_accuracy")
        _raise_problems(
            check_data(ingest, left_out, settings.classes, settings.max_bad_fraction, min_accuracy)
            or read_anomalies(anomalies)
        )
        live = versions.find_comparable(exec_properties["model_dir"], settings.live)
        before = _keep_same_classes(live, settings.classes)
        limits = exec_properties["max_label_drift"], exec_properties["max_brightness_drift"]
        drifts = find_statistics_drift(statistics, before, *limits) if before else []
        if not exec_properties["force"]:
            _raise_problems(drifts)
        unread = describe_unread_record(live)
        unread += describe_damaged_statistics(before) if before else []
        verdict = GateVerdict(warnings=find_warnings(ingest, settings.orientation) + drifts + unread)
        verdict.write(artifact_utils.get_single_uri(output_dict["verdict"]))


class DataGate(base_component.BaseComponent):
    """Component that stops a run on data that should not be trained on."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DataGateExecutor)

    def __init__(
        self,
        report: types.BaseChannel,
        statistics: types.BaseChannel,
        anomalies: types.BaseChannel,
        parameters: RunParameters,
        settings: DataGateSettings,
        code_digest: str,
    ):
        """Describes one check.

        Args:
            report: report of ExampleGen.
            statistics: statistics of StatisticsGen.
            anomalies: anomalies of ExampleValidator.
            parameters: parameters of the run.
            settings: settings of the gate.
            code_digest: digest of Graft's code; only TFX's cache key uses the digest.
        """
        spec = DataGateSpec(
            report=report,
            statistics=statistics,
            anomalies=anomalies,
            **parameters.select(DataGateSpec),
            settings=settings.model_dump_json(),
            code_digest=code_digest,
            verdict=types.Channel(type=DataVerdict),
        )
        super().__init__(spec=spec)


class DriftGateSettings(Fields):
    """Settings of the DriftGate that no run may set.

    Attributes:
        live, classes: as for the DataGate.
    """

    live: str
    classes: list[str]


class DriftGateSpec(ComponentSpec):
    """Inputs, outputs and parameters of the DriftGate."""

    PARAMETERS = {
        **declare("model_dir", "max_embedding_drift", "force"),
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {"embeddings": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"verdict": ChannelParameter(type=DataVerdict)}


class DriftGateExecutor(base_executor.BaseExecutor):
    """Executor that compares the embeddings of this run's images with those of the live model's images."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Compares the embeddings and writes the warnings as the verdict.

        Raises:
            DataError: if the embeddings have drifted too far from those of the live model.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = DriftGateSettings.model_validate_json(exec_properties["settings"])
        embeddings = artifact_utils.get_single_uri(input_dict["embeddings"])
        live = versions.find_comparable(exec_properties["model_dir"], settings.live)
        before = _keep_same_classes(live, settings.classes)
        limit = exec_properties["max_embedding_drift"]
        drifts = find_embedding_drift(embeddings, before, limit) if before else []
        if not exec_properties["force"]:
            _raise_problems(drifts)
        unread = describe_damaged_moments(before) if before else []
        GateVerdict(warnings=drifts + unread).write(artifact_utils.get_single_uri(output_dict["verdict"]))


class DriftGate(base_component.BaseComponent):
    """Component that stops a run on images whose embeddings have drifted."""

    SPEC_CLASS = DriftGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DriftGateExecutor)

    def __init__(
        self, embeddings: types.BaseChannel, parameters: RunParameters, settings: DriftGateSettings, code_digest: str
    ):
        """Describes one comparison.

        Args:
            embeddings: embeddings of the Embedder.
            parameters: parameters of the run.
            settings: settings of the gate.
            code_digest: digest of Graft's code; only TFX's cache key uses the digest.
        """
        spec = DriftGateSpec(
            embeddings=embeddings,
            **parameters.select(DriftGateSpec),
            settings=settings.model_dump_json(),
            code_digest=code_digest,
            verdict=types.Channel(type=DataVerdict),
        )
        super().__init__(spec=spec)


def _keep_same_classes(live: versions.Version | None, classes: list[str]) -> versions.Version | None:
    """Returns the live version, or None if that version has other classes.

    Other classes mean other images, so a drift is expected.
    """
    return live if live and live.record.classes == classes else None


def _raise_problems(problems: list[str]) -> None:
    if problems:
        raise DataError(*problems)


def read_anomalies(uri: str) -> list[str]:
    """Reads the anomalies of all splits, one line each.

    Args:
        uri: folder of ExampleValidator's artifact.
    """
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
