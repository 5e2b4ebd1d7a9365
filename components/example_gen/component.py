"""ExampleGen: turns a folder of labelled images into tf.Examples in three splits.

ExampleGen makes two passes, both on Beam. The first pass reads every file and keeps a record of a few hundred bytes for
each. It decodes only the files that no earlier run has decoded. Duplicates are found and splits are drawn on these
records. The second pass writes the bytes of the kept images, each file straight into its shard. No image passes a
shuffle, so memory does not grow with the data.
"""

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils import shared
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import progress
from components.artifacts import IngestReport
from components.example_files import name_file
from components.example_gen import image_set, ingest, layout
from components.example_gen.decode_cache import DecodedImages
from components.example_gen.duplicates import Record
from components.example_gen.lineage import find_salt
from components.example_gen.reading import read_images
from components.records.image_list import IMAGES, write_image_list
from components.records.quarantine import write_quarantine
from components.run_parameters import RunParameters, declare
from schema import features
from schema.errors import DataError, UsageError
from schema.text import printable
from serving.storage.documents import Fields
from serving.storage.gfile import join
from serving.storage.read_ahead import read_files
from serving.storage.schemes import check_scheme
from serving.storage.whole_files import write_whole

_IMAGES_A_SHARD = 1024  # the work of one worker of the Embedder: about 20 seconds on a CPU
_DATE, _UNREPLACED = "2026-11-23", "[[ScheduledTime"
_FILES_A_BUNDLE = 512  # files that one worker reads at a time; many, because its threads wait for the last file


class IngestSettings(Fields):
    """Settings of ExampleGen that no run may set.

    Attributes:
        split_ratios: shares of train, val and test.
        max_megapixels: upper bound in millions of pixels; a larger image is left out before it is decoded.
        orientation: "exif" to measure the upright images, "ignore" to measure them as stored.
        follow_links: whether links below the class folders may lead out of the data folder.
        decoded: folder of the decode cache, which the next run reads.
        salt: salt of the split. "" takes the salt of the live version, or the result of `choose_salt` if no version is
            live. NEW_SALT does the same, and calls `choose_salt` if the record of the live version cannot be read.
        fingerprint: digest of the files; TFX reuses the outputs only while the folder is the same.
        decoding_digest: digest of the code that decodes; images that other code has decoded are decoded again.
    """

    split_ratios: dict[str, float]
    max_megapixels: float
    decoded: str
    orientation: str = "exif"
    follow_links: bool = False
    salt: str = ""
    fingerprint: str = ""
    decoding_digest: str = ""


class ExampleGenSpec(ComponentSpec):
    """Inputs, outputs and parameters of ExampleGen."""

    PARAMETERS = {
        **declare("data", "window_end", "window_days", "model_dir"),
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "report": ChannelParameter(type=IngestReport),
    }


class ExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads the images, checks them, splits them and writes the examples."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the `examples` and the `report`; succeeds even if no image is good.

        The DataGate stops a run on bad images. ExampleGen does not, because TFX deletes the outputs of an executor that
        fails, and the list of broken files is one of these outputs.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        report = artifact_utils.get_single_instance(output_dict["report"])
        settings = IngestSettings.model_validate_json(exec_properties["settings"])
        data, model_dir = exec_properties["data"], exec_properties["model_dir"]
        for key, path in (("data", data), ("model_dir", model_dir), ("decoded", settings.decoded)):
            check_scheme(path, key)
        window_end = resolve_window_end(exec_properties["window_end"])
        salt = find_salt(model_dir, settings.salt)
        progress.report("listing the images")
        listing = layout.list_images(data, window_end, exec_properties["window_days"], settings.follow_links)

        read = ReadFiles(data, settings, len(listing.files))
        records = self._read(listing.files, read, os.path.join(report.uri, "records"))
        progress.report("dividing the images into splits")
        decided = ingest.decide(listing, records, settings.split_ratios, salt)

        self._write(data, decided, examples.uri)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
        _write_report(report.uri, decided)

    def _read(self, files: Sequence[layout.ImageFile], read: "ReadFiles", records_dir: str) -> list[Record]:
        """Reads every file once and returns a record of each file."""
        bundles = [
            (os.path.join(records_dir, f"{i:012d}.jsonl"), files[i : i + _FILES_A_BUNDLE])
            for i in range(0, len(files), _FILES_A_BUNDLE)
        ]
        tf.io.gfile.makedirs(records_dir)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(bundles)
                | "SpreadFiles" >> beam.Reshuffle()
                | "Read" >> beam.ParDo(read)
            )
        records = [record for target, _ in bundles for record in _load_records(target)]
        tf.io.gfile.rmtree(records_dir)
        return records

    def _write(self, data: str, decided: ingest.Ingest, uri: str) -> None:
        """Writes the examples of each split into the shards of that split."""
        for split in features.SPLITS:
            tf.io.gfile.makedirs(os.path.join(uri, f"Split-{split}"))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(_plan_shards(decided, uri)))
                | "SpreadShards" >> beam.Reshuffle()
                | "WriteShards" >> beam.Map(write_shard, data, len(decided.splits))
            )


class ReadFiles(beam.DoFn):
    """Beam function that reads files and decodes those that no run has decoded before."""

    def __init__(self, data: str, settings: IngestSettings, total: int):
        """Stores the settings that all files share.

        Args:
            data: folder of the images.
            settings: settings of ExampleGen.
            total: number of files, for the progress.
        """
        self._data = data
        self._settings = settings
        self._total = total
        self._shared = shared.Shared()

    def setup(self) -> None:
        """Opens the decode cache, or takes the one that another thread has opened."""
        settings = self._settings
        self._known = self._shared.acquire(lambda: DecodedImages(settings.decoded, settings.decoding_digest))

    def process(self, element: tuple[str, Sequence[layout.ImageFile]]) -> None:
        """Writes the records of a bundle of files into one file.

        The file is written whole or not at all, because Beam may try a bundle twice.

        Args:
            element: path of the file to write, and the images to read.
        """
        target, files = element
        limit, orientation = self._settings.max_megapixels, self._settings.orientation
        records = read_images(files, self._data, limit, self._total, self._known, orientation)
        with write_whole(target) as path, tf.io.gfile.GFile(path, "w") as lines:
            lines.write("".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in records))


class ExampleGen(base_beam_component.BaseBeamComponent):
    """Component that turns a folder of labelled images into tf.Examples and lists the files that it left out."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ExampleGenExecutor)

    def __init__(self, parameters: RunParameters, settings: IngestSettings, code_digest: str):
        """Describes one ingest.

        Args:
            parameters: parameters of the run; `layout` describes the folder of images.
            settings: settings of the ingest.
            code_digest: digest of Graft's code; TFX reuses no outputs of other code.
        """
        spec = ExampleGenSpec(
            **parameters.select(ExampleGenSpec),
            settings=settings.model_dump_json(),
            code_digest=code_digest,
            examples=types.Channel(type=standard_artifacts.Examples),
            report=types.Channel(type=IngestReport),
        )
        super().__init__(spec=spec)


def make_example(record: Record, encoded: bytes) -> tf.train.Example:
    """Builds the example of one image: each feature has one value."""
    values = {
        features.IMAGE: encoded,
        features.LABEL: record.label.encode(),
        features.PATH: record.path.encode(),
        features.DIGEST: record.digest.encode(),
    }
    feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    feature[features.BRIGHTNESS] = tf.train.Feature(float_list=tf.train.FloatList(value=[record.brightness]))
    return tf.train.Example(features=tf.train.Features(feature=feature))


def write_shard(shard: tuple[str, list[Record]], data: str, total: int = 0) -> None:
    """Writes one TFRecord file, whole or not at all, because Beam may try a shard twice.

    Args:
        shard: path of the file to write, and the records of its images.
        data: folder that the paths of the images are relative to.
        total: number of images in all shards, for the progress.
    Raises:
        DataError: if a file changed or vanished since it was read.
    """
    target, records = shard
    files = ((join(data, record.path), record.size) for record in records)
    with write_whole(target) as path, tf.io.TFRecordWriter(path) as writer:
        for record, encoded in zip(records, read_files(files), strict=True):
            writer.write(make_example(record, _check_unchanged(record, encoded)).SerializeToString())
            progress.report("images written", 1, total)


def _check_unchanged(record: Record, encoded: bytes | OSError | tf.errors.OpError) -> bytes:
    if not isinstance(encoded, bytes) or hashlib.sha256(encoded).hexdigest() != record.digest:
        raise DataError(
            f"{printable(record.path)}: changed while it was read, or is gone. Run again when the folder is at rest."
        )
    return encoded


def _plan_shards(decided: ingest.Ingest, uri: str) -> Iterator[tuple[str, list[Record]]]:
    """Yields the path of each shard and its records.

    The records are sorted by digest: that order is the same in each run, and mixes the classes.
    """
    for split in features.SPLITS:
        members = sorted((r for r in decided.kept if decided.splits[r.path] == split), key=lambda r: r.digest)
        count = max(1, -(-len(members) // _IMAGES_A_SHARD))
        for index in range(count):
            yield os.path.join(uri, f"Split-{split}", name_file(index, count)), members[index::count]


def resolve_window_end(window_end: str) -> str:
    """Checks the last day of the window and returns it as a date.

    On Kubeflow the day is a parameter of the run, which no earlier step has checked.

    Args:
        window_end: a date, or "" for the newest date folder, or Kubeflow's placeholder for the time of a scheduled run.
            The placeholder counts as today, because Kubeflow does not replace it in a pinned version of a pipeline
            (kubeflow/pipelines, issue 12494).
    Raises:
        UsageError: if `window_end` is none of these.
    """
    if window_end.startswith(_UNREPLACED):
        return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    try:
        if window_end:
            date = datetime.datetime.strptime(window_end, "%Y-%m-%d").date()
            if date.isoformat() != window_end:  # strptime accepts 2026-1-2, which names no date folder
                raise ValueError
    except ValueError:
        raise UsageError(f"window_end: expected a date such as {_DATE}, or nothing; got {window_end!r}.") from None
    return window_end


def _load_records(path: str) -> Iterator[Record]:
    with tf.io.gfile.GFile(path) as lines:
        for line in lines.read().splitlines():
            yield Record(**json.loads(line))


def _write_report(uri: str, decided: ingest.Ingest) -> None:
    write_quarantine(uri, ingest.list_left_out(decided))
    image_set.write(uri, image_set.make((r.digest, r.label) for r in decided.kept))
    write_image_list(join(uri, IMAGES), ingest.list_images(decided))
    ingest.measure_images(decided).write(uri)
    ingest.summarize(decided).write(uri)
