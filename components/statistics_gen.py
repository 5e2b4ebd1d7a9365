"""StatisticsGen: TFDV's statistics of the splits, in one pass and in one order of the features.

TFX's StatisticsGen has 88 steps of Beam for each split: 342 tasks in Flink. Here the splits are slices of one pass.
TFX's files depend on the order in which a runner merges: the order of the features, and the last bit of a deviation.
Here the rows of a split are put together in the order of the files before TFDV sees them.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from tensorflow_data_validation.statistics.stats_impl import GenerateSlicedStatisticsImpl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from components.example_files import list_split
from components.tfdata import without_autotune
from serving.process.cores import count_cores
from serving.storage.threads import map_in_threads
from serving.storage.whole_files import write_whole

STATISTICS = "FeatureStats.pb"  # name of the file, as TFX's StatisticsGen has it
_BATCH_ROWS = 32  # rows read at once, with their images


class StatisticsGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor of StatisticsGen."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `Split-<split>/FeatureStats.pb` of the features in the schema, for each split of the examples."""
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        statistics.split_names, statistics.span = examples.split_names, examples.span
        splits = artifact_utils.decode_split_names(examples.split_names)
        folder = artifact_utils.get_single_uri(input_dict["schema"])
        schema = tfdv.load_schema_text(io_utils.get_only_uri_in_dir(folder))
        files = [
            (file, split) for split in splits for file in list_split(artifact_utils.get_split_uri([examples], split))
        ]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Start" >> beam.Impulse()
                | "Files" >> beam.FlatMap(lambda _: files)
                | "SpreadFiles" >> beam.GroupByKey()  # Beam's Create and Reshuffle are 11 steps
                | "Read" >> beam.ParDo(ReadFiles(schema))
                | "Group" >> beam.GroupByKey()
                | "Join" >> beam.MapTuple(join_files)
                | "Describe" >> GenerateSlicedStatisticsImpl(tfdv.StatsOptions(schema=schema), is_slicing_enabled=True)
                | "Write" >> beam.Map(write_statistics, statistics.uri, splits)
            )


class ReadFiles(beam.DoFn):
    """Beam DoFn that reads the features of a schema, and no image, from files of ExampleGen, one on each core."""

    def __init__(self, schema: schema_pb2.Schema):
        """Takes the schema of the features to read."""
        self._schema = schema.SerializeToString()

    def start_bundle(self) -> None:
        """Forgets the files of a bundle that has failed."""
        self._files: list[tuple[str, str]] = []

    def process(self, element: tuple[str, Iterable[str]]) -> None:
        """Takes the path of a file and its split."""
        path, [split] = element
        self._files.append((path, split))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yields the split, with path and rows, of each file that has rows."""
        batches = map_in_threads(self._read, [path for path, _ in self._files], count_cores())
        for (path, split), rows in zip(self._files, batches, strict=True):
            if rows is not None:
                yield GlobalWindows.windowed_value_at_end_of_window((split, (path, rows)))

    def _read(self, path: str) -> pa.RecordBatch | None:
        decoder = ExamplesToRecordBatchDecoder(self._schema)
        records = without_autotune(tf.data.TFRecordDataset(path).batch(_BATCH_ROWS))
        batches = [decoder.DecodeBatch(batch) for batch in records.as_numpy_iterator()]
        return _join(batches) if batches else None


def join_files(split: str, files: Iterable[tuple[str, pa.RecordBatch]]) -> tuple[str, pa.RecordBatch]:
    """Joins the rows of a split in the order of the files; TFDV takes the split for the slice of its rows.

    A row has some 200 bytes: the label, the path, the digest and the brightness of an image.
    """
    by_path = dict(files)
    return split, _join([by_path[path] for path in sorted(by_path)])


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    [joined] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def write_statistics(found: statistics_pb2.DatasetFeatureStatisticsList, uri: str, splits: list[str]) -> None:
    """Writes the statistics of the splits, whole or not at all: Beam may write a file twice.

    A runner may merge the features in any order; they are sorted by name.

    Args:
        found: statistics by split, which is the name of each data set; none of a split without examples.
        uri: URI of the artifact.
        splits: all splits.
    """
    by_split = {dataset.name: dataset for dataset in found.datasets}
    for split in splits:
        described = by_split.get(split, statistics_pb2.DatasetFeatureStatistics())
        described.ClearField("name")
        described.features.sort(key=lambda feature: tuple(feature.path.step))
        folder = os.path.join(uri, f"Split-{split}")
        tf.io.gfile.makedirs(folder)
        with write_whole(os.path.join(folder, STATISTICS)) as path, tf.io.gfile.GFile(path, "wb") as file:
            file.write(_wrap(described).SerializeToString(deterministic=True))


def _wrap(dataset: statistics_pb2.DatasetFeatureStatistics) -> statistics_pb2.DatasetFeatureStatisticsList:
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])


class StatisticsGenSpec(ComponentSpec):
    """Inputs, outputs and execution properties of StatisticsGen."""

    PARAMETERS = {"code_digest": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics)}


class StatisticsGen(base_beam_component.BaseBeamComponent):
    """TFX component that describes the features of each split with TFDV.

    Args:
        examples: channel of ExampleGen.
        schema: schema of the features to describe.
        code_digest: digest of the code of this component; part of TFX's cache key.
    """

    SPEC_CLASS = StatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StatisticsGenExecutor)

    def __init__(self, examples: types.BaseChannel, schema: types.BaseChannel, code_digest: str = ""):
        spec = StatisticsGenSpec(
            examples=examples,
            schema=schema,
            code_digest=code_digest,
            statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        )
        super().__init__(spec=spec)
