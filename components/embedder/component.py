"""Embedder: runs each image through the frozen base, unless the embedding store has its embedding.

The embedding store is kept from run to run. The artifact holds the embeddings of this run. If phase 2 trains only the
last blocks of the base, the same pass stores the output of the layers in front of them, the feature extractor. So an
epoch of phase 2 computes only the layers that it trains.

An element of the Beam pipeline is a file of ExampleGen; `worker.py` says what a worker does with it.
"""

import dataclasses
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import devices, progress
from components.artifacts import IngestReport
from components.embedder.arithmetic import choose_base_precision, name_here
from components.embedder.artifact import read_rows
from components.embedder.backbone import EMBEDDING, BaseSpec, FrozenBase
from components.embedder.moments import Moments
from components.embedder.worker import EmbedFile, ExampleFile, Work
from components.example_files import list_split
from components.records.computation import Computation
from components.records.embedding import EmbeddingSummary
from components.records.ingest import IngestSummary
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore, free_bytes, list_keys, remove
from schema import features
from schema.errors import GraftError
from schema.features import EMBEDDING_SIZE
from serving.storage.gfile import gfile
from serving.storage.listing import measure
from serving.storage.whole_files import write_whole

DEFAULT_TRUNK_GB = -1.0
_GB = 1e9
_DEFAULT_DISK_SHARE = 0.5  # of the free space, for the features that phase 2 starts from
AUGMENTED = "images are augmented, so every epoch runs them through the base anew: nothing is kept or reused"


class EmbedderSpec(ComponentSpec):
    """Inputs, outputs and execution properties of the Embedder."""

    PARAMETERS = {
        "base": ExecutionParameter(type=str),
        "fine_tune_epochs": ExecutionParameter(type=int),
        "store": ExecutionParameter(type=str),
        "trunk_gb": ExecutionParameter(type=float),
        "augmented": ExecutionParameter(type=int),
        "weights_digest": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "report": ChannelParameter(type=IngestReport),
    }
    OUTPUTS = {"embeddings": ChannelParameter(type=standard_artifacts.Examples)}


class EmbedderExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor of the Embedder: decides which features to store, spreads the files over the workers, and counts."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the `embeddings` of the splits, their moments, and a summary with the number of computed images."""
        self._log_startup(input_dict, output_dict, exec_properties)
        output = artifact_utils.get_single_instance(output_dict["embeddings"])
        # `test` is embedded for the evaluation of a head alone, and for the logistic regression beside any model.
        fine_tunes = exec_properties["fine_tune_epochs"] > 0
        splits = list(features.SPLITS)
        examples_utils.set_payload_format(output, example_gen_pb2.FORMAT_TF_EXAMPLE)
        output.split_names = artifact_utils.encode_split_names(splits)
        if exec_properties["augmented"]:
            logging.info("Embeddings: %s.", AUGMENTED)
            EmbeddingSummary(kind=None, trunk=None, images=0, computed=0, note=AUGMENTED).write(output.uri)
            return

        progress.report("building the base")
        spec = BaseSpec.from_json(exec_properties["base"])
        spec = dataclasses.replace(spec, precision=choose_base_precision(spec.precision))
        spec = spec if fine_tunes else dataclasses.replace(spec, fine_tune_from="")
        graph, store = artifact_utils.get_single_uri(input_dict["transform_graph"]), exec_properties["store"]
        counts = IngestSummary.read(artifact_utils.get_single_uri(input_dict["report"])).images_by_split
        base = FrozenBase(spec, graph, sum(counts[split] for split in splits))
        files = list(_list_files(input_dict["examples"], output, splits))
        key, note = _choose_features(store, base.extractor_key, counts, exec_properties["trunk_gb"], files)
        described = devices.describe(devices.find_device(), name_here(spec.precision), base.xla)
        logging.info("Embedding on %s.", described.text)
        work = Work(spec, graph, store, base.embedding_key, key, sum(counts[split] for split in splits), _name_run())
        computed, moments = self._embed(work, files, output.uri, base)
        moments.write(output.uri)
        _summarize(work, computed, note, described if computed else None).write(output.uri)

    def _embed(self, work: Work, files: list[ExampleFile], uri: str, base: FrozenBase) -> tuple[int, Moments]:
        """Embeds the files on Beam; returns the number of images run through the base, and the moments of `train`."""
        result = os.path.join(uri, ".result")
        embed_file = EmbedFile(work)
        worker = embed_file.acquire_worker(base)  # a reference until the end: workers of this process share it
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(files)
                | "SpreadFiles" >> beam.Reshuffle()
                | "Embed" >> beam.ParDo(embed_file)
                | "Sum" >> beam.CombineGlobally(_merge)
                | "WriteResult" >> beam.Map(_write_result, result)
            )
        del worker
        for stored in filter(None, (work.embedding_key, work.extractor_key)):
            EmbeddingStore(work.store, stored).remove_temporaries(work.run)
        with tf.io.gfile.GFile(os.path.join(result, "computed")) as file:
            computed = int(file.read())
        moments = Moments.read(result)
        if moments is None:
            raise GraftError(f"{result}: Beam reported success but wrote nothing here. Run again.")
        tf.io.gfile.rmtree(result)
        return computed, moments


def _merge(results: Iterable[tuple[int, Moments]]) -> tuple[int, Moments]:
    """Sums the results of several files, or of none. Beam also merges partial sums with this function."""
    computed, moments = 0, Moments.of(np.zeros([0, EMBEDDING_SIZE]), "")
    for count, part in results:
        computed, moments = computed + count, moments.merge(part)
    return computed, moments


def _write_result(result: tuple[int, Moments], folder: str) -> None:
    """Writes the merged result into a folder, in one step; Beam's WriteToText would add several steps."""
    tf.io.gfile.makedirs(folder)
    with write_whole(os.path.join(folder, "computed")) as path, tf.io.gfile.GFile(path, "w") as file:
        file.write(str(result[0]))
    result[1].write(folder)


def _list_files(examples: list[types.Artifact], output: types.Artifact, splits: list[str]) -> Iterator[ExampleFile]:
    """Lists the files to embed, each with a target of the same name; creates the folders of the splits."""
    for split in splits:
        target = artifact_utils.get_split_uri([output], split)
        tf.io.gfile.makedirs(target)
        for source in list_split(artifact_utils.get_split_uri(examples, split)):
            yield ExampleFile(source, os.path.join(target, os.path.basename(source)), split)


def _name_run() -> str:
    """Returns a name for this run of the Embedder; Kubeflow gives an executor none."""
    return uuid.uuid4().hex[:12]


def _summarize(work: Work, computed: int, note: str, computation: Computation | None) -> EmbeddingSummary:
    return EmbeddingSummary(
        kind=work.embedding_key.to_json(),
        trunk=work.extractor_key.to_json() if work.extractor_key else None,
        images=work.total,
        computed=computed,
        note=note,
        computation=computation,
    )


class Embedder(base_beam_component.BaseBeamComponent):
    """TFX component that turns examples into embeddings; each image goes through the base once in all runs.

    Args:
        examples: channel of ExampleGen.
        transform_graph: channel of Transform; the graph decodes and resizes.
        report: channel of ExampleGen, for the number of images.
        base: specification of the base, and the first block of phase 2.
        fine_tune_epochs: epochs of phase 2. Above 0 the features that phase 2 starts from are stored as well.
        store: folder of the embedding store.
        trunk_gb: disk space for the features that phase 2 starts from, in 10^9 bytes; 0 to store none,
            DEFAULT_TRUNK_GB for half of the free space.
        augmented: True if images change from epoch to epoch, so that no embedding is stored.
        weights_digest: digest of the weights file; part of TFX's cache key.
        code_digest: digest of the code of this component; part of TFX's cache key.
    """

    SPEC_CLASS = EmbedderSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EmbedderExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        report: types.BaseChannel,
        base: BaseSpec,
        fine_tune_epochs: int,
        store: str,
        trunk_gb: float = DEFAULT_TRUNK_GB,
        augmented: bool = False,
        weights_digest: str = "",
        code_digest: str = "",
    ):
        spec = EmbedderSpec(
            examples=examples,
            transform_graph=transform_graph,
            report=report,
            base=base.to_json(),
            fine_tune_epochs=fine_tune_epochs,
            store=store,
            trunk_gb=trunk_gb,
            augmented=int(augmented),
            weights_digest=weights_digest,
            code_digest=code_digest,
            embeddings=types.Channel(type=standard_artifacts.Examples),
        )
        super().__init__(spec=spec)


def _choose_features(
    root: str, key: FeatureKey | None, counts: dict[str, int], gigabytes: float, files: list[ExampleFile]
) -> tuple[FeatureKey | None, str]:
    """Decides whether to store the features that phase 2 starts from, and makes room for them.

    Args:
        root: folder of the embedding store.
        key: feature key of these features; None if phase 2 starts from the images, or without a phase 2.
        counts: number of images by split.
        gigabytes: budget in 10^9 bytes, or DEFAULT_TRUNK_GB.
        files: files of the images.
    Returns:
        The key, or None if the features are not stored; and the reason if they exceed the budget, else "".
    """
    if key is None:
        return None, ""
    gfile(root).makedirs(root)
    kept = {other: measure(os.path.join(root, other.name)) for other in list_keys(root) if other.layer != EMBEDDING}
    free = free_bytes(root)
    budget = gigabytes * _GB if gigabytes >= 0 else _DEFAULT_DISK_SHARE * (free + sum(kept.values()))
    needed = (counts[features.TRAIN] + counts[features.VAL]) * key.row_bytes
    if needed > budget:
        note = (
            f"the features that fine-tuning starts from would take {needed / _GB:.1f} GB, and the budget is "
            f"{budget / _GB:.1f} GB: each epoch runs the frozen part again"
        )
        logging.info("Embeddings: %s.", note)
        return None, note
    for other, size in kept.items():
        if other != key and sum(kept.values()) + needed > budget:
            remove(root, other)
            logging.info("Embedding store: removed %s, %.1f GB, to make room.", other.name, size / _GB)
    if kept.get(key, 0) + needed > budget:
        live = [row.digest for file in files if file.fine_tuned for row in read_rows(file.source)]
        EmbeddingStore(root, key).prune(live)
    return key, ""
