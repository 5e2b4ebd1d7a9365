"""ServingValidator: loads the candidate in a model server and sends test images before a push.

TFX's InfraValidator needs Docker or Kubernetes. The ServingValidator starts TensorFlow Serving's binary if the PATH has
it, and Graft's built-in server otherwise.
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

# File names of TFX's InfraValidator for its verdict: tfx/components/infra_validator/executor.py.
_MARKS = {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"}
_BLESSED = "blessed"


class ServingSettings(Fields):
    """Settings of a trial.

    Attributes:
        model_name: name of the model in the server.
        classes: class names, in the order of the outputs.
        images: number of test images to send.
        max_latency_ms: upper bound on the median latency of a request with one image, in milliseconds.
        max_serving_mb: upper bound on the resident memory of the server, in MB.
    """

    model_name: str
    classes: list[str]
    images: int
    max_latency_ms: float
    max_serving_mb: float


class ServingValidatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of the ServingValidator."""

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
    """Executor that tries the model with test images, writes the verdict and marks the artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Tries the model in a server and writes the verdict; does nothing if the Evaluator has not blessed the model.

        Raises:
            DataError: if there is no test image.
            GraftError: if no server can be started, for reasons of the machine. A rejection would be cached by TFX.
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
            raise DataError(f"{split}: no test image to send to the model server. Add images.")
        verdict = try_model(
            str(path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))),
            settings.model_name,
            examples,
            settings.classes,
            Limits(settings.max_latency_ms, settings.max_serving_mb),
        )
        mark(artifact_utils.get_single_instance(output_dict["infra_blessing"]), verdict)


class ServingValidator(base_component.BaseComponent):
    """Component that tries a model in a model server.

    Args:
        model: candidate.
        examples: raw examples with a `test` split.
        blessing: blessing of the Evaluator; a model without a blessing is not tried.
        settings: settings of the trial.
        server_digest: digest of Graft's code with the built-in server, and of TensorFlow Serving's binary if that is
            used.
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
    """Writes a verdict into an InfraBlessing: the whole document, and the file and property that the Pusher reads."""
    logging.info("Serving: %s", verdict)
    verdict.write(blessing.uri)
    with tf.io.gfile.GFile(os.path.join(blessing.uri, _MARKS[verdict.blessed]), "w") as file:
        file.write("")
    blessing.set_int_custom_property(_BLESSED, int(verdict.blessed))
