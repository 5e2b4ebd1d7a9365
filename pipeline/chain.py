"""The chain of components, from a folder of images to a pushed model."""

import dataclasses
import json
import os

import tensorflow_data_validation as tfdv
from tfx.components import ExampleValidator, StatisticsGen, Transform
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2

from components.embedder import DEFAULT_TRUNK_GB, Embedder
from components.evaluator import DEFAULT_MIN_ACCURACY, Evaluator
from components.example_gen import ExampleGen
from components.gates import DataGate
from components.make_schema import MakeSchema
from components.pixels import is_on
from components.pusher import Pusher
from components.serving_validator import ServingValidator
from components.trainer import Trainer
from components.training import Settings
from pipeline.config import Config
from pipeline.resolve import Resolved
from pipeline.workspace import Workspace
from schema.features import SPLITS, TRAIN, VAL


def create_pipeline(config: Config, resolved: Resolved, workspace: Workspace) -> Pipeline:
    """Chains the components.

    Args:
        config: what the user asked for.
        resolved: what was found before the start.
        workspace: where outputs go.
    Returns:
        A pipeline for any orchestrator of TFX.
    """
    code_digest = resolved.code_digest
    model_dir = str(workspace.model_dir(config.model_name))

    example_gen = ExampleGen(
        data=os.path.abspath(config.data),
        split_ratios=config.split_ratios,
        max_megapixels=config.max_megapixels,
        decoded=str(workspace.decoded),
        salt=resolved.salt,
        window_end=resolved.window_end,
        window_days=config.window_days or 0,
        fingerprint=resolved.fingerprint,
        code_digest=code_digest,
    )
    examples = example_gen.outputs["examples"]

    make_schema = MakeSchema(classes=json.dumps(resolved.classes), code_digest=code_digest)
    schema, statistics_schema = make_schema.outputs["schema"], make_schema.outputs["statistics_schema"]
    statistics_gen = StatisticsGen(
        examples=examples,
        schema=statistics_schema,
        stats_options=tfdv.StatsOptions(experimental_filter_read_paths=True),
    )
    statistics_gen.exec_properties["code_digest"] = code_digest
    example_validator = ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=statistics_schema)
    example_validator.exec_properties["code_digest"] = code_digest
    gate = DataGate(
        report=example_gen.outputs["report"],
        anomalies=example_validator.outputs["anomalies"],
        classes=json.dumps(resolved.classes),
        max_bad_fraction=config.max_bad_fraction,
        code_digest=code_digest,
    )

    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=list(SPLITS)),
        custom_config={
            "image_size": config.image_size,
            "max_megapixels": config.max_megapixels,
            "classes": resolved.classes,
            "code_digest": code_digest,
        },
        # Nothing is materialized: decoding again costs 2 % of the forward pass, and pixels 543 kB an image.
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    transform.add_upstream_node(gate)

    settings = _training_settings(config, resolved, workspace)
    embedder = Embedder(
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        report=example_gen.outputs["report"],
        base=settings.base,
        # A head alone is evaluated on embeddings; a fine-tuned model needs the images of `test` themselves.
        splits=[TRAIN, VAL] if config.fine_tune_epochs else SPLITS,
        store=settings.store,
        trunk_gb=DEFAULT_TRUNK_GB if config.trunk_gb is None else config.trunk_gb,
        augmented=is_on(settings.augmentation),
        weights_digest=resolved.weights_digest,
        code_digest=code_digest,
    )
    embeddings = embedder.outputs["embeddings"]

    trainer = Trainer(
        examples=examples,
        embeddings=embeddings,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        custom_config=dataclasses.asdict(settings),
    )
    model = trainer.outputs["model"]

    evaluator = Evaluator(
        examples=examples,
        embeddings=embeddings,
        model=model,
        classes=resolved.classes,
        model_dir=model_dir,
        baseline=resolved.baseline,
        min_accuracy=DEFAULT_MIN_ACCURACY if config.min_accuracy is None else config.min_accuracy,
        max_accuracy_drop=config.max_accuracy_drop,
        code_digest=code_digest,
    )

    serving_validator = ServingValidator(
        model=model,
        examples=examples,
        blessing=evaluator.outputs["blessing"],
        model_name=config.model_name,
        classes=resolved.classes,
        images=config.serving_images,
        max_latency_ms=config.max_latency_ms,
        max_serving_mb=config.max_serving_mb,
        server_digest=resolved.server_digest,
    )

    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_validator.outputs["infra_blessing"],
        evaluation=evaluator.outputs["evaluation"],
        report=example_gen.outputs["report"],
        model_dir=model_dir,
        record=_version_record(config, resolved),
        canary=config.canary,
        keep_versions=config.keep_versions,
        served=resolved.served,
        code_digest=code_digest,
    )

    return Pipeline(
        pipeline_name="graft",
        pipeline_root=str(workspace.artifacts),
        components=[
            example_gen,
            statistics_gen,
            make_schema,
            example_validator,
            gate,
            transform,
            embedder,
            trainer,
            evaluator,
            serving_validator,
            pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=list(config.beam.args),
        metadata_connection_config=sqlite_metadata_connection_config(str(workspace.metadata)),
    )


def _training_settings(config: Config, resolved: Resolved, workspace: Workspace) -> Settings:
    return Settings(
        classes=resolved.classes,
        image_size=config.image_size,
        weights=resolved.weights,
        head_units=list(config.head_units),
        dropout=config.dropout,
        head_epochs=config.head_epochs,
        head_learning_rate=config.head_learning_rate,
        fine_tune_epochs=config.fine_tune_epochs,
        fine_tune_learning_rate=config.fine_tune_learning_rate,
        fine_tune_from=config.fine_tune_from,
        precision=config.precision,
        batch_size=config.batch_size,
        early_stopping_patience=config.early_stopping_patience,
        class_weights=config.class_weights,
        label_smoothing=config.label_smoothing,
        augmentation=config.augmentation.model_dump(),
        seed=config.seed,
        store=str(workspace.embeddings),
        model_name=config.model_name,
        cache_key={"weights": resolved.weights_digest, "code": resolved.code_digest},
    )


def _version_record(config: Config, resolved: Resolved) -> dict[str, object]:
    """What a later run, or a person, wants to know of a pushed version."""
    return {
        "classes": resolved.classes,
        "config": config.model_dump(mode="json"),
        "request_key": resolved.request_key,
        "resolved": dataclasses.asdict(resolved),
    }
