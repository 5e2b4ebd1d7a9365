"""RetrainingGate: ends a run before the training if there is nothing new.

Such a run ends well: the live model is as good as what a training would make of these images.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import IngestReport, RunDecision
from components.example_gen import image_set
from components.gates.data_checks import check_data
from components.gates.retraining_rules import Case, decide
from components.gates.unpushed import recall_unpushed
from components.records.ingest import IngestSummary, find_newest_day
from components.records.quarantine import read_quarantine
from components.run_parameters import RunParameters, declare
from schema.errors import UsageError
from serving.releases import releases, versions
from serving.storage.contents import digest_contents
from serving.storage.documents import DocumentError, Fields

TRAIN = "train"  # a property of the artifact, "true" or "false"; Kubeflow's conditions read it
DEFAULT_MIN_NEW_IMAGES = -1


class RetrainingSettings(Fields):
    """Settings of the RetrainingGate that no run may set.

    Attributes:
        live: identity of the live version; "none" for none, or "" to look for it.
        made_by: digest of what makes a model of images, but for what a run may set.
        classes: class names, as for the DataGate.
        max_bad_fraction: share of the files that may be broken, 0 to 1, likewise.
        weights: path or URI of the base's weights, whose bytes make another model; "" where `made_by` covers them.
    """

    live: str
    made_by: str
    classes: list[str]
    max_bad_fraction: float
    weights: str


class RetrainingGateSpec(ComponentSpec):
    """The contract of the RetrainingGate."""

    PARAMETERS = {
        **declare("model_dir", "head_epochs", "fine_tune_epochs", "min_accuracy", "max_accuracy_drop"),
        **declare("min_new_images", "window_days", "force"),
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {"report": ChannelParameter(type=IngestReport)}
    OUTPUTS = {"decision": ChannelParameter(type=RunDecision)}


class RetrainingGateExecutor(base_executor.BaseExecutor):
    """Gathers what is known of the images and of the models before, decides, and marks."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the decision.

        Raises:
            UsageError: if the window ends before the live model's, or the weights cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = RetrainingSettings.model_validate_json(exec_properties["settings"])
        decided = decide(_make_case(artifact_utils.get_single_uri(input_dict["report"]), settings, exec_properties))
        logging.info("%s: %s.", "Going on" if decided.train else "Ending early", decided.reason)
        decision = artifact_utils.get_single_instance(output_dict["decision"])
        decided.write(decision.uri)
        decision.set_string_custom_property(TRAIN, "true" if decided.train else "false")


class RetrainingGate(base_component.BaseComponent):
    """Decides whether a run goes on to train."""

    SPEC_CLASS = RetrainingGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RetrainingGateExecutor)

    def __init__(
        self, report: types.BaseChannel, parameters: RunParameters, settings: RetrainingSettings, code_digest: str
    ):
        """Describes one decision.

        Args:
            report: of ExampleGen.
            parameters: of the run.
            settings: of the gate.
            code_digest: of our code, in the cache key only.
        """
        spec = RetrainingGateSpec(
            report=report,
            **parameters.select(RetrainingGateSpec),
            settings=settings.model_dump_json(),
            code_digest=code_digest,
            decision=types.Channel(type=RunDecision),
        )
        super().__init__(spec=spec)


def _make_case(report: str, settings: RetrainingSettings, parameters: dict[str, Any]) -> Case:
    """Reads what the decision depends on.

    Args:
        report: folder of ExampleGen's report.
        settings: of the gate.
        parameters: of the run, by name.
    """
    ingest, released = IngestSummary.read(report), releases.read(parameters["model_dir"])
    return Case(
        keys=_read_keys(report),
        newest_day=find_newest_day(ingest.spans),
        settings_key=_digest_settings(settings, parameters),
        live=versions.find_comparable(parameters["model_dir"], settings.live),
        others=[*([released.canary] if released.canary else []), *released.withdrawn],
        unpushed=recall_unpushed(parameters["model_dir"]),
        min_new_images=_choose_min_new_images(parameters["min_new_images"], parameters["window_days"]),
        force=bool(parameters["force"]),
        unfit=bool(check_data(ingest, read_quarantine(report), settings.classes, settings.max_bad_fraction)),
    )


def _read_keys(report: str) -> np.ndarray:
    keys = image_set.read(report)
    if keys is None:
        raise DocumentError(f"{os.path.join(report, image_set.FILE)}: is missing")
    return keys


def _choose_min_new_images(min_new_images: int, window_days: int) -> int:
    """Returns the number that is set, or 1 with a window of days, for some images leave it every day, and else 0."""
    if min_new_images != DEFAULT_MIN_NEW_IMAGES:
        return min_new_images
    return 1 if window_days else 0


def _digest_settings(settings: RetrainingSettings, parameters: dict[str, Any]) -> str:
    """Digests what makes a model of images, and what it is judged by."""
    epochs = [parameters[name] for name in ("head_epochs", "fine_tune_epochs")]
    thresholds = [float(parameters[name]) for name in ("min_accuracy", "max_accuracy_drop")]
    weights = [_digest_weights(settings.weights)] if settings.weights else []
    text = json.dumps([settings.made_by, *epochs, *thresholds, *weights])
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_weights(path: str) -> str:
    """Digests a file's bytes, hex sha256: one that is replaced in place keeps its name."""
    try:
        return digest_contents(path)
    except OSError as error:
        raise UsageError(
            f"weights: {path}: cannot be read here: {error.strerror}. Name a file that every task can read."
        ) from None
