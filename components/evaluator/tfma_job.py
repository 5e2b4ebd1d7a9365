"""TFMA's evaluation of the models as one small pipeline of Beam.

TFX's Evaluator has 156 steps, of which 68 write and 14 read: 180 tasks in Flink. TFMA's extractors and its evaluator
are the same here; 4 steps read the test files, and 5 write the results.
"""

import os
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers.metrics_plots_and_validations_writer import (
    convert_slice_metrics_to_proto,
    convert_slice_plots_to_proto,
)
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
from tfx_bsl.tfxio.record_based_tfxio import AppendRawRecordColumn

from components.evaluator.eval_config import BASELINE, CANDIDATE
from components.evaluator.extractors import make_extractors
from components.tfdata import without_autotune
from serving.storage.whole_files import write_whole

_BATCH_ROWS = 32  # 600 kB of pixels and several MB of activations an image; TFMA itself takes up to 1000 rows
_CONVERT = {"metrics": convert_slice_metrics_to_proto, "plots": convert_slice_plots_to_proto}


@tf.autograph.experimental.do_not_convert  # else Keras' metrics are rewritten, 1.5 s, to run eagerly all the same
def evaluate_models(
    make_pipeline: Callable[[], beam.Pipeline],
    files: list[str],
    models: dict[str, str],
    config: config_pb2.EvalConfig,
    output: str,
) -> None:
    """Evaluates one model or two, and writes `metrics` and `plots` as TFMA does, for `tfma.load_eval_result`.

    Args:
        make_pipeline: makes the pipeline of an executor.
        files: TFRecord files of test examples.
        models: paths of SavedModels: CANDIDATE, and BASELINE if there is one.
        config: TFMA's configuration, without thresholds.
        output: folder to write to.
    """
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=len(models) > 1, rubber_stamp=True)
    tfma.utils.verify_eval_config(config)
    paths = {spec.name: models[BASELINE if spec.is_baseline else CANDIDATE] for spec in config.model_specs}
    shared = [
        tfma.default_eval_shared_model(eval_saved_model_path=path, model_name=name, eval_config=config)
        for name, path in paths.items()  # TFMA leaves out the name of an only model
    ]
    loaded = shared[0] if len(shared) == 1 else shared
    [evaluator] = tfma.default_evaluators(eval_shared_model=loaded, eval_config=config)
    with make_pipeline() as pipeline:
        extracts = (
            pipeline
            | "Start" >> beam.Impulse()
            | "Files" >> beam.FlatMap(lambda _: [(file, None) for file in files])
            | "SpreadFiles" >> beam.GroupByKey()  # Beam's Create and Reshuffle are 11 steps
            | "Read" >> beam.ParDo(ReadExamples())
        )
        for extractor in make_extractors(loaded, config):
            extracts |= extractor.stage_name >> extractor.ptransform
        evaluation = extracts | evaluator.stage_name >> evaluator.ptransform
        found = [evaluation[kind] | f"Convert({kind})" >> beam.Map(_serialize, kind) for kind in _CONVERT]
        _ = (
            found
            | "Join" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_results, output)
        )
    _write_config(config, paths, output)


class ReadExamples(beam.DoFn):
    """Beam DoFn that reads a file of test examples as batches of at most 32 rows."""

    def process(self, element: tuple[str, Iterable[None]]) -> Iterator[tfma.Extracts]:
        """Takes the path of a file; yields TFMA's extracts."""
        decoder = ExamplesToRecordBatchDecoder(None)
        records = without_autotune(tf.data.TFRecordDataset(element[0]).batch(_BATCH_ROWS))
        for batch in records.as_numpy_iterator():
            decoded: pa.RecordBatch = decoder.DecodeBatch(batch)
            whole = AppendRawRecordColumn(decoded, tfma.constants.ARROW_INPUT_COLUMN, batch.tolist())
            yield {tfma.ARROW_RECORD_BATCH_KEY: whole}


def _serialize(found: object, kind: str) -> tuple[str, tuple[bytes, bytes]]:
    """Returns the kind of a slice's results, with the slice's key, to sort by, and the results."""
    results: Message = _CONVERT[kind](found, add_metrics_callbacks=[])
    return kind, (results.slice_key.SerializeToString(deterministic=True), results.SerializeToString())


def _write_results(element: tuple[str, Iterable[tuple[bytes, bytes]]], output: str) -> None:
    """Writes the results of all slices into one file, whole or not at all: Beam may write a file twice."""
    kind, found = element
    tf.io.gfile.makedirs(output)
    target = os.path.join(output, f"{kind}-00000-of-00001.tfrecord")
    with write_whole(target) as path, tf.io.TFRecordWriter(path) as writer:
        for _, results in sorted(found):
            writer.write(results)


def _write_config(config: config_pb2.EvalConfig, models: dict[str, str], output: str) -> None:
    run = config_pb2.EvalRun(
        eval_config=config,
        version=tfma.__version__,
        data_location="<user provided PCollection>",  # TFMA's word for any data that it has not read itself
        file_format="<unknown>",
        model_locations=models,
    )
    with tf.io.gfile.GFile(os.path.join(output, "eval_config.json"), "w") as file:
        file.write(json_format.MessageToJson(run))
