"""RetrainingGate: ends a run before the training if its images and settings are not new.

Such a run succeeds: a training on these images would give the live model again.
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
from components.gates.unpushed import read_unpushed
from components.records.ingest import IngestSummary, find_newest_day
from components.records.quarantine import read_quarantine
from components.run_parameters import RunParameters, declare, read_share
from schema.errors import UsageError
from serving.releases import releases, versions
from serving.storage.contents import digest_contents
from serving.storage.documents import DocumentError, Fields

TRAIN = "train"  # property of the artifact, "true" or "false"; Kubeflow's conditions read the property
DEFAULT_MIN_NEW_IMAGES = -1
_BOUNDS = ("min_accuracy", "max_accuracy_drop", "min_recall")


class RetrainingSettings(Fields):
    """Settings of the RetrainingGate that no run may set.

    Attributes:
        live: identity of the live version; "none" if no version is live, or "" to look the live version up.
        made_by: digest of code and settings that determine the model, without the parameters that a run may set.
        classes: class names, as for the DataGate.
        max_bad_fraction: share of the files that may be broken, 0 to 1, as for the DataGate.
        weights: path or URI of the base's weights, whose bytes are digested too; "" if `made_by` covers them.
    """

    live: str
    made_by: str
    classes: list[str]
    max_bad_fraction: float
    weights: str


class RetrainingGateSpec(ComponentSpec):
    """Inputs, outputs and parameters of the RetrainingGate."""

    PARAMETERS = {
        **declare("model_dir", "head_epochs", "fine_tune_epochs", *_BOUNDS),
        **declare("min_new_images", "window_days", "force"),
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {"report": ChannelParameter(type=IngestReport)}
    OUTPUTS = {"decision": ChannelParameter(type=RunDecision)}


class RetrainingGateExecutor(base_executor.BaseExecutor):
    """Executor that decides from this run's images and from the earlier models, and marks the artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Decides whether to train, and writes the decision.

        Raises:
            UsageError: if the window ends before the live model's window, a bound is not from 0 to 1, or the weights
                cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = RetrainingSettings.model_validate_json(exec_properties["settings"])
        decided = decide(_make_case(artifact_utils.get_single_uri(input_dict["report"]), settings, exec_properties))
        logging.info("%s: %s.", "Going on" if decided.train else "Ending early", decided.reason)
        decision = artifact_utils.get_single_instance(output_dict["decision"])
        decided.write(decision.uri)
        decision.set_string_custom_property(TRAIN, "true" if decided.train else "false")


class RetrainingGate(base_component.BaseComponent):
    """Component that decides whether a run trains."""

    SPEC_CLASS = RetrainingGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RetrainingGateExecutor)

    def __init__(
        self, report: types.BaseChannel, parameters: RunParameters, settings: RetrainingSettings, code_digest: str
    ):
        """Describes one decision.

        Args:
            report: report of ExampleGen.
            parameters: parameters of the run.
            settings: settings of the gate.
            code_digest: digest of Graft's code; only TFX's cache key uses the digest.
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
    """Reads the images of this run and the earlier models.

    Args:
        report: folder of ExampleGen's report.
        settings: settings of the gate.
        parameters: parameters of the run, by name.
    """
    ingest, released = IngestSummary.read(report), releases.read(parameters["model_dir"])
    return Case(
        keys=_read_keys(report),
        newest_day=find_newest_day(ingest.spans),
        settings_key=_digest_settings(settings, parameters),
        live=versions.find_comparable(parameters["model_dir"], settings.live),
        others=[*([released.canary] if released.canary else []), *released.withdrawn],
        unpushed=read_unpushed(parameters["model_dir"]),
        min_new_images=_choose_min_new_images(parameters["min_new_images"], parameters["window_days"]),
        force=bool(parameters["force"]),
        unfit=bool(
            check_data(
                ingest,
                read_quarantine(report),
                settings.classes,
                settings.max_bad_fraction,
                read_share(parameters, "min_accuracy"),
            )
        ),
    )


def _read_keys(report: str) -> np.ndarray:
    keys = image_set.read(report)
    if keys is None:
        raise DocumentError(f"{os.path.join(report, image_set.FILE)}: is missing")
    return keys


def _choose_min_new_images(min_new_images: int, window_days: int) -> int:
    """Returns the number of images that must be new.

    The default is 1 with a window of days, because images leave the window every day, and 0 otherwise.
    """
    if min_new_images != DEFAULT_MIN_NEW_IMAGES:
        return min_new_images
    return 1 if window_days else 0


def _digest_settings(settings: RetrainingSettings, parameters: dict[str, Any]) -> str:
    """Digests the settings that determine a model and the bounds that it is judged by.

    Raises:
        UsageError: if a bound is not from 0 to 1, or the weights cannot be read.
    """
    epochs = [parameters[name] for name in ("head_epochs", "fine_tune_epochs")]
    bounds = [read_share(parameters, name) for name in _BOUNDS]
    weights = [_digest_weights(settings.weights)] if settings.weights else []
    text = json.dumps([settings.made_by, *epochs, *bounds, *weights])
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_weights(path: str) -> str:
    """Digests the bytes of a weights file to hex sha256, because a file that is replaced in place keeps its name."""
    try:
        return digest_contents(path)
    except OSError as error:
        raise UsageError(
            f"weights: {path}: cannot be read here: {error.strerror}. Name a file that every task can read."
        ) from None
