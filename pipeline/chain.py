"""The chain of components, from a folder of images to a pushed model."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig
from tfx.components import ExampleValidator, Transform
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2
from tfx.types import BaseChannel

from components.embedder.component import DEFAULT_TRUNK_GB, Embedder
from components.evaluator.component import Evaluator
from components.example_gen.component import ExampleGen, IngestSettings
from components.gates.data import DataGate, DataGateSettings, DriftGate, DriftGateSettings
from components.gates.retraining import RetrainingGate, RetrainingSettings
from components.pusher.component import Pusher, PusherInputs, PushSettings
from components.run_parameters import RunParameters
from components.schema_gen import SchemaGen
from components.serving_validator.component import ServingSettings, ServingValidator
from components.statistics_gen import StatisticsGen
from components.trainer.component import Trainer
from components.trainer.settings import Settings
from components.transform.pixels import Augmentation
from pipeline.config.config import Config
from pipeline.local_paths import shorten_paths
from pipeline.resolve import Resolved
from schema.features import SPLITS, TRAIN
from serving.releases.versions import NOT_LIVE

NAME = "graft"


@dataclasses.dataclass(frozen=True)
class Paths:
    """Folders on this machine, or URIs, that a pipeline writes to.

    Attributes:
        artifacts: TFX's pipeline root.
        embeddings: the embedding store, which later runs read.
        decoded: cache of the sizes and brightness of images, by digest.
    """

    artifacts: str
    embeddings: str
    decoded: str


def create_pipeline(
    config: Config,
    parameters: RunParameters,
    resolved: Resolved,
    paths: Paths,
    beam_args: list[str],
    metadata: ConnectionConfig | None = None,
    make_last: Callable[[list[BaseComponent]], BaseComponent] | None = None,
) -> Pipeline:
    """Chains the components.

    Args:
        config: the user's configuration.
        parameters: parameters that each run can set; they override the configuration.
        resolved: properties resolved before the start; an empty string leaves a property to the executors.
        paths: folders to write to.
        beam_args: arguments of Beam's pipelines.
        metadata: connection to the database of a local run; None on Kubeflow.
        make_last: makes a component that follows the others, from these; None for the chain alone.
    Returns:
        A pipeline for any orchestrator of TFX.
    """
    code, live, classes = resolved.code_digests, resolved.baseline, resolved.classes

    example_gen = ExampleGen(parameters, _ingest_settings(config, resolved, paths), code["ExampleGen"])
    examples, report = example_gen.outputs["examples"], example_gen.outputs["report"]

    retraining_gate = RetrainingGate(report, parameters, _retraining_settings(config, resolved), code["RetrainingGate"])

    schema_gen = SchemaGen(classes=json.dumps(classes), code_digest=code["SchemaGen"])
    schema, statistics_schema = schema_gen.outputs["schema"], schema_gen.outputs["statistics_schema"]
    statistics_gen = StatisticsGen(examples, statistics_schema, code["StatisticsGen"])
    statistics_gen.add_upstream_node(retraining_gate)
    statistics = statistics_gen.outputs["statistics"]
    example_validator = ExampleValidator(statistics=statistics, schema=statistics_schema)
    example_validator.exec_properties["code_digest"] = code["ExampleValidator"]
    data_gate = DataGate(
        report=report,
        statistics=statistics,
        anomalies=example_validator.outputs["anomalies"],
        parameters=parameters,
        settings=DataGateSettings(
            live=live,
            classes=classes,
            max_bad_fraction=config.max_bad_fraction,
            orientation=config.orientation,
        ),
        code_digest=code["DataGate"],
    )

    transform = _make_transform(config, examples, schema, classes, code["Transform"])
    transform.add_upstream_node(data_gate)
    transform_graph = transform.outputs["transform_graph"]

    settings = _training_settings(config, resolved, paths)
    embedder = Embedder(
        examples=examples,
        transform_graph=transform_graph,
        report=report,
        base=dataclasses.replace(settings.base, fine_tune_from=config.fine_tune_from),
        fine_tune_epochs=_clamp_epochs(parameters.fine_tune_epochs),
        store=paths.embeddings,
        trunk_gb=DEFAULT_TRUNK_GB if config.trunk_gb is None else config.trunk_gb,
        augmented=settings.augmentation.is_on,
        weights_digest=resolved.weights_digest,
        code_digest=code["Embedder"],
    )
    embeddings = embedder.outputs["embeddings"]
    drift_gate = DriftGate(embeddings, parameters, DriftGateSettings(live=live, classes=classes), code["DriftGate"])

    trainer = Trainer(
        examples=examples,
        embeddings=embeddings,
        transform_graph=transform_graph,
        schema=schema,
        settings=settings,
        parameters=parameters,
        live=live if config.warm_start else NOT_LIVE,
    )
    trainer.add_upstream_node(drift_gate)
    model = trainer.outputs["model"]

    evaluator = Evaluator(
        examples=examples,
        embeddings=embeddings,
        report=report,
        model=model,
        parameters=parameters,
        classes=classes,
        baseline=live,
        best=resolved.best,
        code_digest=code["Evaluator"],
    )

    serving_validator = ServingValidator(
        model=model,
        examples=examples,
        blessing=evaluator.outputs["blessing"],
        settings=_serving_settings(config, classes),
        server_digest=resolved.server_digest,
    )

    pusher_inputs = PusherInputs(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_validator.outputs["infra_blessing"],
        evaluation=evaluator.outputs["evaluation"],
        report=report,
        decision=retraining_gate.outputs["decision"],
        statistics=statistics,
        embeddings=embeddings,
    )
    pusher = Pusher(pusher_inputs, parameters, _push_settings(config, resolved), code["Pusher"])

    components: list[BaseComponent] = [
        example_gen,
        retraining_gate,
        schema_gen,
        statistics_gen,
        example_validator,
        data_gate,
        transform,
        embedder,
        drift_gate,
        trainer,
        evaluator,
        serving_validator,
        pusher,
    ]
    return Pipeline(
        pipeline_name=NAME,
        pipeline_root=paths.artifacts,
        components=[*components, *([make_last(components)] if make_last else [])],
        enable_cache=True,
        beam_pipeline_args=beam_args,
        metadata_connection_config=metadata,
    )


def _make_transform(
    config: Config, examples: BaseChannel, schema: BaseChannel, classes: list[str], code_digest: str
) -> Transform:
    return Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=list(SPLITS)),
        custom_config={
            "image_size": config.image_size,
            "max_megapixels": config.max_megapixels,
            "orientation": config.orientation,
            "resize": config.resize,
            "classes": classes,
            "code_digest": code_digest,
        },
        # Not materialized: decoding again costs 2 % of the forward pass, and the pixels of an image would take 543 kB.
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )


def _clamp_epochs(epochs: Any) -> Any:
    """Clamps epochs to 0 or 1 for the Embedder's cache key; returns a placeholder of Kubeflow unchanged."""
    return min(epochs, 1) if isinstance(epochs, int) else epochs


def _ingest_settings(config: Config, resolved: Resolved, paths: Paths) -> IngestSettings:
    return IngestSettings(
        split_ratios=config.split_ratios,
        max_megapixels=config.max_megapixels,
        orientation=config.orientation,
        follow_links=config.follow_links,
        decoded=paths.decoded,
        salt=resolved.salt,
        fingerprint=resolved.fingerprint,
        decoding_digest=resolved.decoding_digest,
    )


def _retraining_settings(config: Config, resolved: Resolved) -> RetrainingSettings:
    return RetrainingSettings(
        live=resolved.baseline,
        made_by=resolved.settings,
        classes=resolved.classes,
        max_bad_fraction=config.max_bad_fraction,
        weights="" if resolved.weights_digest else resolved.weights,
    )


def _training_settings(config: Config, resolved: Resolved, paths: Paths) -> Settings:
    return Settings(
        classes=resolved.classes,
        image_size=config.image_size,
        resize=config.resize,
        orientation=config.orientation,
        weights=resolved.weights,
        head_units=config.head_units if isinstance(config.head_units, str) else list(config.head_units),
        dropout=config.dropout,
        head_epochs=config.head_epochs,
        head_learning_rate=config.head_learning_rate,
        fine_tune_epochs=config.fine_tune_epochs,
        fine_tune_learning_rate=config.fine_tune_learning_rate,
        fine_tune_from=config.fine_tune_from,
        fine_tune_schedule=config.fine_tune_schedule,
        fine_tune_warmup=config.fine_tune_warmup,
        fine_tune_clip_norm=config.fine_tune_clip_norm,
        fine_tune_weight_decay=config.fine_tune_weight_decay,
        fine_tune_average=config.fine_tune_average,
        precision=config.precision,
        serving_precision=config.serving_precision,
        batch_size=config.batch_size,
        early_stopping_patience=config.early_stopping_patience,
        class_weights=config.class_weights,
        label_smoothing=config.label_smoothing,
        augmentation=Augmentation(**config.augmentation.model_dump()),
        seed=config.seed,
        coverage=config.coverage if isinstance(config.coverage, float) else None,
        warm_start=config.warm_start,
        store=paths.embeddings,
        model_name=config.model_name,
        warmup_images=config.warmup_images,
        cache_key={"weights": resolved.weights_digest, "code": resolved.code_digests["Trainer"]},
    )


def _serving_settings(config: Config, classes: list[str]) -> ServingSettings:
    return ServingSettings(
        model_name=config.model_name,
        classes=classes,
        images=config.serving_images,
        max_latency_ms=config.max_latency_ms,
        max_serving_mb=config.max_serving_mb,
    )


def _push_settings(config: Config, resolved: Resolved) -> PushSettings:
    return PushSettings(
        record=_version_record(config, resolved),
        keep_versions=config.keep_versions,
        canary=config.canary,
        served=resolved.served,
    )


def _version_record(config: Config, resolved: Resolved) -> dict[str, object]:
    """Builds the record of a pushed version, `graft.json`: classes, configuration, request key, resolved properties.

    It has no digests of single components: with them, a change of a gate would run the Pusher again.
    """
    properties = dataclasses.asdict(resolved)
    del properties["code_digests"]
    return {
        "classes": resolved.classes,
        "config": shorten_paths(config.model_dump(mode="json")),
        "request_key": resolved.request_key,
        "resolved": properties | {"weights": shorten_paths(resolved.weights)},
    }
