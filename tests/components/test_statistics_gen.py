"""One pass over all splits, and files that do not depend on the order in which a runner merges."""

import itertools
import random

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen.executor import Executor as TfxExecutor
from tfx.types import artifact_utils, standard_artifacts

from components.example_files import name_file
from components.schema_gen import read_schema
from components.statistics_gen import STATISTICS, ReadFiles, StatisticsGenExecutor, join_files, write_statistics
from schema.features import IMAGE, SPLITS

TFX_STEPS = 264  # of TFX 1.16's StatisticsGen for three splits, counted as in `count_steps`


@pytest.fixture(scope="module")
def schema():
    """The schema of the features that are described: all but the image."""
    found = read_schema(["cat", "dog"])
    described = [feature for feature in found.feature if feature.name != IMAGE]
    del found.feature[:]
    found.feature.extend(described)
    return found


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, schema, serialize):
    """The inputs: two files of training images, one of val, and one without an image."""
    folder = tmp_path_factory.mktemp("statistics")
    for split, counts in (("train", (40, 7)), ("val", (9,)), ("test", (0,))):
        target = folder / f"examples/Split-{split}"
        target.mkdir(parents=True)
        for index, count in enumerate(counts):
            with tf.io.TFRecordWriter(str(target / name_file(index, len(counts)))) as writer:
                for number in range(count):
                    label = "cat" if number % 3 else "dog"
                    example = tf.train.Example.FromString(serialize(b"image", label, f"{label}/{index}-{number}.jpg"))
                    brightness = float(np.random.default_rng([index, number]).normal(120, 15))
                    example.features.feature["brightness"].float_list.value[:] = [brightness]
                    example.features.feature["digest"].bytes_list.value[:] = [b"%064d" % number]
                    writer.write(example.SerializeToString())
    (folder / "schema").mkdir()
    (folder / "schema/schema.pbtxt").write_text(text_format.MessageToString(schema, as_utf8=True))
    made = {"examples": standard_artifacts.Examples(), "schema": standard_artifacts.Schema()}
    for name, artifact in made.items():
        artifact.uri = str(folder / name)
    made["examples"].split_names = artifact_utils.encode_split_names(list(SPLITS))
    return {name: [artifact] for name, artifact in made.items()}


def describe(executor, artifacts, folder):
    """Runs an executor; returns the bytes of each split's statistics."""
    output = standard_artifacts.ExampleStatistics()
    output.uri = str(folder)
    options = tfdv.StatsOptions(experimental_filter_read_paths=True).to_json()
    executor().Do(artifacts, {"statistics": [output]}, {"stats_options_json": options, "exclude_splits": "[]"})
    assert artifact_utils.decode_split_names(output.split_names) == list(SPLITS)
    return {split: (folder / f"Split-{split}" / STATISTICS).read_bytes() for split in SPLITS}


def parse(content):
    """Returns the only data set of a file, with its features in order of name."""
    [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
    dataset.features.sort(key=lambda feature: feature.path.step[0])
    return dataset


def count_steps(proto):
    """Counts the transforms of a pipeline that have no others inside."""
    return sum(not transform.subtransforms for transform in proto.components.transforms.values())


def test_the_pipeline_has_at_most_half_the_steps_of_tfx(artifacts, tmp_path, monkeypatch):
    """Each step is a task for each slot in Flink, with network buffers; 342 tasks were too many."""
    built = []
    monkeypatch.setattr(beam.Pipeline, "run", lambda pipeline, *args: built.append(pipeline.to_runner_api()))
    with pytest.raises(AttributeError):  # no result to wait for
        describe(StatisticsGenExecutor, artifacts, tmp_path)
    assert 0 < count_steps(built[0]) <= TFX_STEPS / 2


def test_the_splits_are_described_as_if_each_were_alone(artifacts, tmp_path):
    """A split without images, too."""
    found = {split: parse(content) for split, content in describe(StatisticsGenExecutor, artifacts, tmp_path).items()}
    assert {split: (dataset.num_examples, dataset.name) for split, dataset in found.items()} == {
        "train": (47, ""),
        "val": (9, ""),
        "test": (0, ""),
    }
    assert [feature.path.step[0] for feature in found["train"].features] == ["brightness", "digest", "label", "path"]
    label = found["val"].features[2].string_stats
    assert {bucket.label: bucket.sample_count for bucket in label.rank_histogram.buckets} == {"cat": 6, "dog": 3}


@pytest.mark.long
def test_the_statistics_are_those_of_tfx(artifacts, tmp_path, monkeypatch):
    """But for the order of the features. With one file a split the rows have one order for TFX, too."""
    built = []
    run = beam.Pipeline.run
    monkeypatch.setattr(
        beam.Pipeline, "run", lambda self, *args: built.append(self.to_runner_api()) or run(self, *args)
    )
    ours = describe(StatisticsGenExecutor, artifacts, tmp_path / "ours")
    theirs = describe(TfxExecutor, artifacts, tmp_path / "theirs")
    for split in SPLITS:
        one, other = parse(ours[split]), parse(theirs[split])
        if split == "train":  # of two files, which TFX merges in any order
            for dataset in (one, other):
                dataset.features[0].num_stats.std_dev = round(dataset.features[0].num_stats.std_dev, 9)
        assert one == other
    assert count_steps(built[1]) >= TFX_STEPS * 0.9


def test_features_in_another_order_give_the_same_bytes(tmp_path):
    """A runner merges features, splits and maps of a feature in any order."""
    datasets = []
    for split in ("train", "val"):
        dataset = statistics_pb2.DatasetFeatureStatistics(name=split, num_examples=3)
        for name in ("path", "brightness", "label", "digest"):
            dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING).path.step.append(name)
        datasets.append(dataset)
    written = set()
    for seed in range(5):
        shuffle = random.Random(seed).sample
        found = statistics_pb2.DatasetFeatureStatisticsList()
        for dataset in shuffle(datasets, len(datasets)):
            features = shuffle(list(dataset.features), len(dataset.features))
            found.datasets.add(name=dataset.name, num_examples=3, features=features)
        write_statistics(found, str(tmp_path / str(seed)), list(SPLITS))
        paths = [tmp_path / str(seed) / f"Split-{split}" / STATISTICS for split in SPLITS]
        written.add(tuple(path.read_bytes() for path in paths))
    assert len(written) == 1
    [train, val, test] = written.pop()
    assert train == val != test
    assert [feature.path.step[0] for feature in parse(train).features] == ["brightness", "digest", "label", "path"]


def test_files_in_another_order_give_the_same_rows(artifacts, schema):
    """A deviation depends on the order of the rows, in its last bit."""
    folder = artifacts["examples"][0].uri
    read = ReadFiles(schema)
    read.start_bundle()
    for index in range(2):
        read.process((f"{folder}/Split-train/{name_file(index, 2)}", ["train"]))
    files = [windowed.value[1] for windowed in read.finish_bundle()]
    joined = [join_files("train", order) for order in itertools.permutations(files)]
    assert joined[0] == joined[1]
    split, rows = joined[0]
    assert (split, rows.num_rows, sorted(rows.schema.names)) == (
        "train",
        47,
        ["brightness", "digest", "label", "path"],
    )
