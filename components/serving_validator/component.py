"""ServingValidator: loads the candidate in a model server, and asks it real questions before it is pushed.

TFX's InfraValidator wants Docker or Kubernetes; this one takes TensorFlow Serving's binary where it is on the PATH,
and Graft's own server where it is not.
"""

import os
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.example_files import list_files
from components.records.serving_verdict import ServingVerdict
from components.serving_validator.trial import Limits, try_model
from components.transform.samples import sample_examples
from schema import features
from schema.errors import DataError
from serving.storage.documents import Fields

# As TFX's InfraValidator marks what it has seen: tfx/components/infra_validator/executor.py.
_MARKS = {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"}
_BLESSED = "blessed"


class ServingSettings(Fields):
    """Settings of a trial.

    Attributes:
        model_name: what the server is to call the model.
        classes: class names, in the order of the outputs.
        images: number of test images to ask with.
        max_latency_ms: bound on the median of requests with one image, in milliseconds.
        max_serving_mb: bound on the resident memory, in MB.
    """

    model_name: str
    classes: list[str]
    images: int
    max_latency_ms: float
    max_serving_mb: float


class ServingValidatorSpec(ComponentSpec):
    """What is served, with what, and what is too much."""

    PARAMETERS = {
        "settings": ExecutionParameter(type=str),
        "server_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {"infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingValidatorExecutor(base_executor.BaseExecutor):
    """Picks test images, tries the model, writes the verdict down, marks."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Blesses a model that answers as it should; leaves one alone that the Evaluator has not blessed.

        Raises:
            DataError: if there is no test image to ask with.
            GraftError: if no server can be started, for reasons of the machine; a refusal would be cached.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["blessing"])):
            logging.info("Not blessed by the Evaluator, so not served.")
            return
        settings = ServingSettings.model_validate_json(exec_properties["settings"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        split = artifact_utils.get_split_uri(input_dict["examples"], features.TEST)
        examples = sample_examples(list_files([os.path.join(split, "*")]), settings.images)
        if not examples:
            raise DataError(f"{split}: no test image to ask the model server with. Add images.")
        verdict = try_model(
            str(path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))),
            settings.model_name,
            examples,
            settings.classes,
            Limits(settings.max_latency_ms, settings.max_serving_mb),
        )
        mark(artifact_utils.get_single_instance(output_dict["infra_blessing"]), verdict)


class ServingValidator(base_component.BaseComponent):
    """Tries a model in a model server.

    Args:
        model: the candidate.
        examples: raw examples with a `test` split.
        blessing: the Evaluator's; without it nothing is done.
        settings: of the trial.
        server_digest: of our code, the built-in server included, and of TensorFlow Serving's binary if it is used.
    """

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ServingValidatorExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        blessing: types.BaseChannel,
        settings: ServingSettings,
        server_digest: str,
    ):
        spec = ServingValidatorSpec(
            model=model,
            examples=examples,
            blessing=blessing,
            settings=settings.model_dump_json(),
            server_digest=server_digest,
            infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)


def mark(blessing: types.Artifact, verdict: ServingVerdict) -> None:
    """Writes a verdict into an InfraBlessing, in full and as the Pusher reads it."""
    logging.info("Serving: %s", verdict)
    verdict.write(blessing.uri)
    with tf.io.gfile.GFile(os.path.join(blessing.uri, _MARKS[verdict.blessed]), "w") as file:
        file.write("")
    blessing.set_int_custom_property(_BLESSED, int(verdict.blessed))
