"""Trainer: reads the embeddings, trains in two phases, and exports the better model.

The component is TFX's Trainer with one more input channel, the embeddings. TFX's own spec cannot be extended.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import proto_utils

from components import progress
from components.devices import AUTO, FLOAT32, describe
from components.embedder.arithmetic import choose_base_precision, describe_arithmetic, read_precision
from components.embedder.artifact import read_embeddings, read_rows
from components.embedder.backbone import BaseSpec, FrozenBase
from components.embedder.backbone_cache import open_features, read_features
from components.example_files import list_files
from components.network import resnet, served
from components.probabilities import scale_probabilities
from components.records.computation import Computation
from components.records.embedding import EmbeddingSummary
from components.records.history import TrainingHistory
from components.records.predictions import PREDICTIONS, Predictions, no_baseline
from components.row_store.shards import FeatureKey
from components.run_parameters import RunParameters, declare
from components.trainer import curves, devices
from components.trainer.acceptance import fit_score
from components.trainer.calibration import calibrate, has_threshold
from components.trainer.phase import HEAD
from components.trainer.settings import Settings
from components.trainer.training import Images, Inputs, Trained, count_passes, train
from components.transform import pixels, samples
from schema import features
from serving.export.calibration import Calibration
from serving.export.class_distance import ClassDistance
from serving.export.explanation import View
from serving.export.network import BaseOrigin, write_origin
from serving.export.signatures import export_saved_model
from serving.export.warmup_requests import write_warmup_requests
from serving.releases import versions


class TrainerSpec(ComponentSpec):
    """Inputs, outputs and parameters of TFX's Trainer, and the embeddings."""

    PARAMETERS = {
        "train_args": ExecutionParameter(type=str),
        "eval_args": ExecutionParameter(type=str),
        "custom_config": ExecutionParameter(type=str),
        **declare("head_epochs", "fine_tune_epochs", "model_dir"),
        "live": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "embeddings": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
    }


class TrainerExecutor(tfx_executor.GenericExecutor):
    """TFX's executor, which adds the embeddings, the test split and the live model to the arguments of `run_fn`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Calls `run_fn` directly, because TFX's executor would look the name up and load this module again."""
        self._log_startup(input_dict, output_dict, exec_properties)
        run_fn(self._GetFnArgs(input_dict, output_dict, exec_properties))

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        for name in ("head_epochs", "fine_tune_epochs"):  # parameters of the run, which override the settings
            fn_args.custom_config[name] = exec_properties[name]
        if fn_args.custom_config["warm_start"]:
            live = versions.find_by_identity(exec_properties["model_dir"], exec_properties["live"])
            # A version with a damaged record may have been trained on images of the new test split.
            fn_args.custom_config["live"] = live.path if live and not live.problem else ""
        fn_args.custom_config["embeddings"] = artifact_utils.get_single_uri(input_dict["embeddings"])
        test = artifact_utils.get_split_uri(input_dict["examples"], features.TEST)
        fn_args.custom_config["test_files"] = [os.path.join(test, "*")]
        return fn_args


class Trainer(base_component.BaseComponent):
    """Component that trains a model on examples and on their embeddings.

    Args:
        examples: examples of ExampleGen.
        embeddings: embeddings of the Embedder.
        transform_graph: transform graph of Transform.
        schema: schema of the examples.
        settings: settings of both phases.
        parameters: parameters of the run: epochs, which go before `settings`, and the serving folder for a warm start.
        live: identity of the version to start from; "none" for a cold start, "" for the version that is live when the
            Trainer starts.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        embeddings: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        settings: Settings,
        parameters: RunParameters,
        live: str = versions.NOT_LIVE,
    ):
        spec = TrainerSpec(
            examples=examples,
            embeddings=embeddings,
            transform_graph=transform_graph,
            schema=schema,
            train_args=proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=[features.TRAIN])),
            eval_args=proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=[features.VAL])),
            custom_config=settings.model_dump_json(),
            **parameters.select(TrainerSpec),
            live=live,
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
        )
        super().__init__(spec=spec)


def run_fn(fn_args: FnArgs) -> None:
    """Trains a model, exports the SavedModel, and writes the history.

    Args:
        fn_args: paths of the examples and the transform graph, output folders of the model and its logs, and
            `Settings` as `custom_config`.
    """
    settings = Settings.check(fn_args.custom_config, "the settings of the Trainer")
    report = EmbeddingSummary.read(settings.embeddings)
    chosen = devices.choose_devices(settings.precision)
    with chosen.strategy.scope():
        progress.report("building the network")
        frozen = FrozenBase(follow_embedder(settings.base, report), fn_args.transform_output)
        passes = count_passes(settings, report.trunk is not None)
        files = fn_args.train_files + fn_args.eval_files
        with pixels.cache_folder(files, settings.image_size, passes, fn_args.model_run_dir) as cache:
            progress.report("reading the training data")
            inputs = read_inputs(fn_args, frozen, settings, report, cache)
            trained = train(frozen, inputs, settings, chosen, fn_args.model_run_dir)
            fitted = fit_score(frozen, inputs, trained, settings) if has_threshold(trained.val, settings) else None
        calibration = calibrate(trained.val, settings.coverage, fitted.val if fitted else None)
        distance = fitted.distance if fitted and calibration.threshold is not None else None
        export(frozen, trained, calibration, fn_args, settings, distance)
    through_base = settings.fine_tune_epochs > 0 or settings.augmentation.is_on
    precision = chosen.precision if through_base else FLOAT32
    computation = describe(chosen.device, precision, trained.xla)
    write_history(trained, inputs.computed, computation, fn_args.model_run_dir)
    probabilities = scale_probabilities(trained.val.probabilities, calibration.temperature)
    write_val_predictions(probabilities, report, fn_args, settings)


def follow_embedder(base: BaseSpec, report: EmbeddingSummary) -> BaseSpec:
    """Gives a base of the precision "auto" the precision of the embeddings; without embeddings that of the devices."""
    if base.precision != AUTO:
        return base
    precision = (
        read_precision(FeatureKey.from_json(report.kind).arithmetic) if report.kind else choose_base_precision(AUTO)
    )
    return dataclasses.replace(base, precision=precision)


def read_inputs(
    fn_args: FnArgs, frozen: FrozenBase, settings: Settings, report: EmbeddingSummary, cache: str | None
) -> Inputs:
    """Reads the training data: images, embeddings, or embeddings and features for phase 2.

    Args:
        fn_args: patterns of the example files.
        frozen: base with its feature extractor.
        settings: settings of batches, order and augmentation.
        report: summary of the Embedder.
        cache: folder for resized images, or None.
    """
    images = None
    if count_passes(settings, report.trunk is not None):
        transform = tft.TFTransformOutput(fn_args.transform_output).transform_features_layer()
        images = read_images(fn_args, transform, settings, cache)
    if report.kind is None:
        return Inputs(images, None, None)
    train_embedded, val_embedded = (
        read_embeddings(settings.embeddings, split, settings.classes) for split in (features.TRAIN, features.VAL)
    )
    if report.trunk is None:
        return Inputs(images, train_embedded, val_embedded)
    rows, computed = open_features(frozen, settings.store, list_files(fn_args.train_files + fn_args.eval_files))
    features_train = read_features(rows, train_embedded, settings.batch_size, settings.seed)
    features_val = read_features(rows, val_embedded, settings.batch_size)
    return Inputs(images, train_embedded, val_embedded, features_train, features_val, computed)


def read_images(
    fn_args: FnArgs,
    transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    settings: Settings,
    cache: str | None,
) -> Images:
    """Builds the datasets of images; no file is read before the training iterates over them.

    Args:
        fn_args: patterns of the example files.
        transform: transform graph.
        settings: settings of batches, order and augmentation.
        cache: folder for resized images, or None.
    """
    train_cache, val_cache = (os.path.join(cache, split) if cache else None for split in (features.TRAIN, features.VAL))
    batch_size, seed = settings.batch_size, settings.seed
    augment = pixels.build_augmentation(settings.augmentation, seed)
    plain = pixels.read_uint8(fn_args.train_files, transform, batch_size, cache=train_cache)
    shuffled = pixels.read_uint8(fn_args.train_files, transform, batch_size, seed, train_cache)
    val = pixels.read_uint8(fn_args.eval_files, transform, batch_size, cache=val_cache)
    return Images(
        plain=pixels.to_pixels(plain),
        shuffled=pixels.to_pixels(shuffled, augment),
        val=pixels.to_pixels(val),
    )


def export(
    frozen: FrozenBase,
    trained: Trained,
    calibration: Calibration,
    fn_args: FnArgs,
    settings: Settings,
    distance: ClassDistance | None = None,
) -> None:
    """Writes the SavedModel and its warm-up requests.

    The model gets a signature for embeddings if phase 2 did not change the base.

    Args:
        frozen: base with the weights to export.
        trained: dense head, and the phase to export.
        calibration: temperature and threshold of the model.
        fn_args: output folder and transform graph.
        settings: settings of the training.
        distance: score that the threshold is for; None for the largest probability.
    """
    precision = settings.serving_precision
    network = served.make_network(frozen.network, resnet.build_logits(trained.head), precision)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    key = dataclasses.replace(frozen.embedding_key, arithmetic=describe_arithmetic(precision))
    path, classes = fn_args.serving_model_dir, list(settings.classes)
    fine_tuned = trained.kept != HEAD
    progress.report("exporting the model")
    export_saved_model(
        network,
        transform_output,
        classes,
        path,
        "" if fine_tuned else key.to_json(),
        calibration,
        distance,
        View(settings.resize, settings.orientation),
    )
    origin = BaseOrigin(
        weights=os.path.basename(settings.weights),
        digest=key.weights,
        fine_tuned_from=settings.fine_tune_from if fine_tuned else "",
        precision=precision,
    )
    write_origin(path, origin)
    served.write_unscaled(path, frozen.network)
    if settings.warmup_images:
        _write_warmup(path, settings)


def _write_warmup(path: str, settings: Settings) -> None:
    """Writes warm-up requests with images of `test`, which a server decodes; no model learns from them."""
    progress.report("writing warm-up requests")
    images = map(samples.get_image, samples.sample_examples(list_files(settings.test_files), settings.warmup_images))
    write_warmup_requests(path, list(images), settings.model_name)


def write_history(trained: Trained, computed: int, computation: Computation, model_run_dir: str) -> None:
    """Writes `history.json` and `training_curves.png` beside the TensorBoard logs.

    Args:
        trained: result of both phases.
        computed: number of images whose features had to be computed again.
        computation: device, precision, XLA and cores of the training.
        model_run_dir: folder of the logs.
    """
    history = TrainingHistory(
        kept=trained.kept,
        scores=trained.scores,
        epochs=trained.history,
        tried_heads=trained.tried,
        trunk_computed=computed,
        computation=computation,
    )
    tf.io.gfile.makedirs(model_run_dir)
    history.write(model_run_dir)
    progress.report("drawing the training curves")
    with tf.io.gfile.GFile(os.path.join(model_run_dir, "training_curves.png"), "wb") as file:
        file.write(curves.draw_curves(trained.history, trained.kept))


def write_val_predictions(
    probabilities: np.ndarray, report: EmbeddingSummary, fn_args: FnArgs, settings: Settings
) -> None:
    """Writes the probabilities of the validation images, float32 [num_images, classes], beside the history."""
    embedded = os.path.join(settings.embeddings, f"Split-{features.VAL}", "*")
    files = list_files(fn_args.eval_files if report.kind is None else [embedded])  # the smaller files, if there are any
    rows = [row for file in files for row in read_rows(file)]
    predictions = Predictions(
        classes=list(settings.classes),
        baseline_version=None,
        baseline_classes=None,
        split=[features.VAL] * len(rows),
        digest=[row.digest.hex() for row in rows],
        path=[row.path.decode("utf-8", "replace") for row in rows],
        label=[row.label.decode() for row in rows],
        candidate=probabilities,
        baseline=no_baseline(len(rows)),
    )
    predictions.sort().write(os.path.join(fn_args.model_run_dir, PREDICTIONS))
