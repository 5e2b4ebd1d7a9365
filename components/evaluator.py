"""Evaluator: TFMA on the test split, against thresholds and against the version that is live.

A subclass of TFX's: it finds the baseline in the serving folder, sets the threshold that depends on the data,
compares with a live version of other classes, bounds the batches, and writes `summary.json` for people beside
TFMA's files.
"""

import json
import os
import tempfile
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import component as tfx_evaluator
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.utils import path_utils

from components import progress, summary
from components.comparison import Comparison, compare_models
from components.eval_config import make_eval_config
from schema import features
from schema.errors import GraftError
from serving import versions

NO_BASELINE = "none"
DEFAULT_MIN_ACCURACY = -1.0
_MARGIN = 0.1
_BATCH_ROWS = 32


class EvaluatorExecutor(tfx_executor.Executor):
    """Evaluates the candidate, and the live version where there is one."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's; the baseline is looked up, not an input."""
        candidate = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        output = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        classes = json.loads(exec_properties["classes"])
        counts = count_labels(examples)
        live = _find_baseline(exec_properties["model_dir"], exec_properties["baseline"])
        baseline = live if live and live.record.get("classes") == classes else None
        # TFMA takes one class list for both models; where they differ, the comparison is our own.
        comparison = _compare(candidate, live, examples, classes, counts) if live and not baseline else None
        min_accuracy, max_drop = exec_properties["min_accuracy"], exec_properties["max_accuracy_drop"]
        if min_accuracy == DEFAULT_MIN_ACCURACY:
            min_accuracy = default_min_accuracy(counts)
        config = make_eval_config(len(classes), min_accuracy, max_drop, bool(baseline))
        with tempfile.TemporaryDirectory() as staging:
            if baseline:
                staged = _stage_baseline(baseline, staging, candidate)
                input_dict = input_dict | {standard_component_specs.BASELINE_MODEL_KEY: [staged]}
            super().Do(input_dict, output_dict, exec_properties | _as_property(config))
        refusals = summary.describe_drop(comparison, max_drop) if comparison else []
        if refusals:
            _refuse(artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY]))
        summary.write_summary(output, classes, min_accuracy, live.number if live else None, comparison, refusals)


class Evaluator(tfx_evaluator.Evaluator):
    """TFX's Evaluator, with the live version as baseline."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        classes: list[str],
        model_dir: str,
        baseline: str,
        min_accuracy: float,
        max_accuracy_drop: float,
        code_digest: str,
    ):
        """Describes one evaluation.

        Args:
            examples: raw examples with a `test` split.
            model: the candidate.
            classes: class names, in the order of the outputs.
            model_dir: the serving folder of the model.
            baseline: identity of the live version, so that TFX does not reuse a verdict against another one;
                "none" compares with nothing, "" leaves it to the executor.
            min_accuracy: to be blessed; DEFAULT_MIN_ACCURACY for the majority class's share of `test` plus 0.1.
            max_accuracy_drop: how much below the baseline is still blessed; where their class lists differ, on the
                classes that both know.
            code_digest: of our code.
        """
        super().__init__(
            examples=examples,
            model=model,
            example_splits=[features.TEST],
            # The executor makes the real one; a threshold depends on the data.
            eval_config=make_eval_config(len(classes), 0.0, 0.0, False),
            module_path="components.evaluator",
        )
        self.exec_properties.update(
            classes=json.dumps(classes),
            model_dir=model_dir,
            baseline=baseline,
            min_accuracy=min_accuracy,
            max_accuracy_drop=max_accuracy_drop,
            code_digest=code_digest,
        )


def _as_property(config: config_pb2.EvalConfig) -> dict[str, str]:
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    return {standard_component_specs.EVAL_CONFIG_KEY: text}


def default_min_accuracy(counts: dict[str, int]) -> float:
    """The majority class's share plus 0.1: a model that has learnt nothing is not blessed.

    Where that class has more than 80 %, half the way from its share to 1, for more than 1 is out of reach.

    Args:
        counts: test images by class.
    """
    share = max(counts.values()) / sum(counts.values())
    return share + min(_MARGIN, (1 - share) / 2)


def count_labels(examples: types.Artifact) -> dict[str, int]:
    """Counts the test examples by class."""
    counts: dict[str, int] = {}
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.string)}
    for record in tf.data.TFRecordDataset(_list_test_files(examples)):
        label = tf.io.parse_single_example(record, spec)[features.LABEL].numpy().decode()
        counts[label] = counts.get(label, 0) + 1
    return counts


def _list_test_files(examples: types.Artifact) -> list[str]:
    return sorted(tf.io.gfile.glob(os.path.join(artifact_utils.get_split_uri([examples], features.TEST), "*")))


def _find_baseline(model_dir: str, identity: str) -> versions.Version | None:
    """The version to compare with: the one of that identity, or with "" the one that is live."""
    if identity == NO_BASELINE:
        return None
    if not identity:
        return versions.find_live(model_dir)
    for version in versions.find_versions(model_dir):
        if identity.startswith(f"{version.number}:") and version.identity == identity:
            return version
    raise GraftError(f"{model_dir}: version {identity.split(':')[0]}, live when the run began, is gone. Run again.")


def _stage_baseline(live: versions.Version, staging: str, candidate: types.Artifact) -> types.Artifact:
    """Hands a version over as a Model artifact, whose URI holds `Format-Serving/`.

    A copy: the version may be rolled back or pruned while it is evaluated.
    """
    versions.copy_tree(live.path, os.path.join(staging, "Format-Serving"))
    baseline = standard_artifacts.Model()
    baseline.uri = staging
    baseline.mlmd_artifact.properties.MergeFrom(candidate.mlmd_artifact.properties)
    return baseline


def _compare(
    candidate: types.Artifact,
    live: versions.Version,
    examples: types.Artifact,
    classes: list[str],
    counts: dict[str, int],
) -> Comparison:
    """Compares with a live version of other classes, on those that both know."""
    path = path_utils.serving_model_path(candidate.uri, path_utils.is_old_model_artifact(candidate))
    common = [name for name in classes if name in live.record.get("classes", [])]
    return compare_models(path, live.path, _list_test_files(examples), common, counts)


def _refuse(blessing: types.Artifact) -> None:
    """Takes a blessing back, file and property, as TFX's executor writes a refusal."""
    blessed = os.path.join(blessing.uri, constants.BLESSED_FILE_NAME)
    if tf.io.gfile.exists(blessed):
        tf.io.gfile.remove(blessed)
    with tf.io.gfile.GFile(os.path.join(blessing.uri, constants.NOT_BLESSED_FILE_NAME), "w") as file:
        file.write("")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.NOT_BLESSED_VALUE)


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's extractors behind one that bounds the batches; TFX's Evaluator looks this function up by name.

    TFMA grows its batches up to 1000 rows; at 600 kB of pixels and several MB of activations an image that is
    the memory of the machine.
    """
    return [
        tfma.extractors.Extractor("BoundBatches", beam.FlatMap(_split_batch)),
        *tfma.default_extractors(
            eval_shared_model=eval_shared_model,
            eval_config=eval_config,
            tensor_adapter_config=tensor_adapter_config,
        ),
    ]


def _split_batch(extracts: dict[str, Any]) -> list[dict[str, Any]]:
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    progress.report("images evaluated", batch.num_rows)
    starts = range(0, batch.num_rows, _BATCH_ROWS)
    return [extracts | {tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, _BATCH_ROWS)} for start in starts]
