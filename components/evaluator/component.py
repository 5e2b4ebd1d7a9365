"""Evaluator: runs TFMA on the test split, and judges the candidate by the predictions.

The executor takes the live version and the best kept one from the serving folder, and writes `summary.json` beside
TFMA's files. TFMA gets no thresholds: `verdict.judge` decides alone, and the blessing follows.
"""

import collections
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components import progress
from components.artifacts import IngestReport
from components.evaluator.best_version import find_best
from components.evaluator.calibration import measure_calibration
from components.evaluator.eval_config import BASELINE, CANDIDATE, make_eval_config
from components.evaluator.kept_predictions import keep_predictions, read_kept
from components.evaluator.logistic_regression import measure_baseline
from components.evaluator.summary import write_summary
from components.evaluator.tfma_job import evaluate_models
from components.evaluator.val_baseline import predict_val
from components.evaluator.verdict import Bounds, Verdict, judge
from components.evaluator.version_predictions import VersionPredictions, predict_test, try_predict_test
from components.example_files import list_split
from components.records.embedding import EmbeddingSummary
from components.records.ingest import IngestSummary
from components.records.predictions import PREDICTIONS, VAL_BASELINE, Predictions
from components.run_parameters import RunParameters, declare, read_share
from components.tfdata import without_autotune
from schema import features
from schema.errors import GraftError
from serving.export import signatures
from serving.export.calibration import read_calibration
from serving.releases import versions


class EvaluatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor that evaluates the candidate, and the live version if there is one."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the candidate and writes the verdict.

        The baseline is the live version in the serving folder, not an input artifact as in TFX.

        Raises:
            UsageError: if a bound is not from 0 to 1.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        candidate = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        embeddings = artifact_utils.get_single_uri(input_dict["embeddings"])
        output = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        classes, bounds = json.loads(exec_properties["classes"]), read_bounds(exec_properties)
        progress.report("counting the test images")
        counts = count_labels(examples)
        live = versions.find_by_identity(exec_properties["model_dir"], exec_properties["baseline"])
        baseline = live if live and live.record.classes == classes else None
        # TFMA takes one class list for both models; `predict_test` handles different class lists.
        sources = artifact_utils.get_split_uri([examples], features.TEST), embeddings
        by_live = predict_test(live, classes, *sources) if live and not baseline else None
        by_best = _predict_by_best(exec_properties, live, classes, sources)
        on_val = predict_val(live, embeddings) if live else None
        embedded = _find_test_embeddings(input_dict["embeddings"], candidate, baseline)
        signature = signatures.EMBEDDED_EXAMPLES if embedded else signatures.EXAMPLES
        config = make_eval_config(len(classes), bool(baseline), signature)
        models = {CANDIDATE: _model_path(candidate)}
        staging = os.path.join(output, ".baseline")  # no temporary folder: Beam's workers may be on other machines
        if baseline:
            # A copy, because the version may be rolled back or pruned meanwhile.
            versions.copy_tree(baseline.path, staging)
            models[BASELINE] = staging
        progress.report("loading the model")
        kept = os.path.join(output, ".predictions")
        with keep_predictions(kept):
            files = _list_test_files(embedded or examples)
            evaluate_models(self._make_beam_pipeline, files, models, config, output)
            predictions = read_kept(kept, classes, baseline.number if baseline else None, sum(counts.values()))
        if by_live:
            predictions = by_live.add_to(predictions)
        _write_predictions(output, predictions, on_val)
        if baseline:
            tf.io.gfile.rmtree(staging)
        majority = IngestSummary.read(artifact_utils.get_single_uri(input_dict["report"])).majority
        best = by_best.add_to(predictions) if by_best else None
        problems = {found.version: found.problem for found in (by_live, by_best) if found}
        calibration = read_calibration(_model_path(candidate))
        verdict = judge(predictions, majority, bounds, best, problems, calibration)
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        fitted = measure_baseline(embeddings, classes, predictions)
        _bless(blessing, candidate, verdict)
        figures = measure_calibration(predictions, calibration)
        write_summary(output, classes, verdict, fitted, figures, has_baseline=bool(baseline))


class EvaluatorSpec(ComponentSpec):
    """Inputs, outputs and execution properties of the Evaluator."""

    PARAMETERS = {
        "classes": ExecutionParameter(type=str),
        **declare("model_dir", "min_accuracy", "max_accuracy_drop", "min_recall"),
        "baseline": ExecutionParameter(type=str),
        "best": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        "embeddings": ChannelParameter(type=standard_artifacts.Examples),
        "report": ChannelParameter(type=IngestReport),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {
        standard_component_specs.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        standard_component_specs.BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Component that evaluates a candidate, with the live version as baseline.

    Args:
        examples: raw examples with a `test` split.
        embeddings: embeddings of the Embedder. If they have a `test` split and the model has a signature for
            embeddings, they replace the images, and no image goes through the base again.
        report: report of ExampleGen, with the number of images by class.
        model: candidate.
        parameters: parameters of the run: the serving folder, and the bounds of the verdict, see `verdict.judge`.
        classes: class names, in the order of the outputs.
        baseline: identity of the live version, so that TFX does not reuse a verdict against another version; "none"
            for no comparison, "" for the version that is live when the Evaluator starts.
        best: identity of the best kept version in the same way, see `best_version.find_best`.
        code_digest: digest of Graft's code.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        embeddings: types.BaseChannel,
        report: types.BaseChannel,
        model: types.BaseChannel,
        parameters: RunParameters,
        classes: list[str],
        baseline: str,
        best: str,
        code_digest: str,
    ):
        spec = EvaluatorSpec(
            examples=examples,
            embeddings=embeddings,
            report=report,
            model=model,
            classes=json.dumps(classes),
            **parameters.select(EvaluatorSpec),
            baseline=baseline,
            best=best,
            code_digest=code_digest,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        )
        super().__init__(spec=spec)


def read_bounds(parameters: Mapping[str, Any]) -> Bounds:
    """Reads the bounds of the verdict from the parameters of a run.

    Raises:
        UsageError: if a bound is neither from 0 to 1 nor NOT_GIVEN.
    """
    return Bounds(**{field.name: read_share(parameters, field.name) for field in dataclasses.fields(Bounds)})


def count_labels(examples: types.Artifact) -> dict[str, int]:
    """Counts the test examples of each class."""
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(_list_test_files(examples)).batch(32)
    labels = without_autotune(records.map(lambda batch: tf.io.parse_example(batch, spec)[features.LABEL]))
    return dict(collections.Counter(label.decode() for batch in labels.as_numpy_iterator() for label in batch))


def _list_test_files(examples: types.Artifact) -> list[str]:
    return list_split(artifact_utils.get_split_uri([examples], features.TEST))


def _find_test_embeddings(
    embeddings: list[types.Artifact], candidate: types.Artifact, baseline: versions.Version | None
) -> types.Artifact | None:
    """Returns the embeddings to evaluate on.

    The result is None if the test split has no embeddings, or if a model does not take embeddings of their key.
    """
    artifact = artifact_utils.get_single_instance(embeddings)
    key = EmbeddingSummary.read(artifact.uri).kind
    if key is None or features.TEST not in artifact_utils.decode_split_names(artifact.split_names):
        return None
    paths = [_model_path(candidate), *([baseline.path] if baseline else [])]
    fits = all(signatures.read_embedding_key(path) == key for path in paths)
    return artifact if fits else None


def _model_path(model: types.Artifact) -> str:
    return str(path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)))


def _predict_by_best(
    properties: dict[str, Any], live: versions.Version | None, classes: list[str], sources: tuple[str, str]
) -> VersionPredictions | None:
    """Predicts the test images with the best kept version; returns None if there is none besides the live version."""
    model_dir, identity = properties["model_dir"], properties["best"]
    if not identity:
        best = find_best(model_dir, classes, live)
    else:
        try:
            best = versions.find_by_identity(model_dir, identity)
        except (GraftError, OSError, tf.errors.OpError):  # without it, one comparison is missing
            return VersionPredictions(int(identity.partition(":")[0]), problem="which is gone or cannot be read")
    return try_predict_test(best, classes, *sources) if best else None


def _write_predictions(output: str, predictions: Predictions, on_val: Predictions | None) -> None:
    """Writes the predictions of the test images, and those of `val` by the live version, if there are any."""
    predictions.write(os.path.join(output, PREDICTIONS))
    if on_val:
        on_val.write(os.path.join(output, VAL_BASELINE))


def _bless(blessing: types.Artifact, candidate: types.Artifact, verdict: Verdict) -> None:
    """Writes the file and the properties of a blessing, or of its refusal, as TFX's executor does with thresholds."""
    blessed = not verdict.failures
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    with tf.io.gfile.GFile(os.path.join(blessing.uri, name), "w") as file:
        file.write("")
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, candidate.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
