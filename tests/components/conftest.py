"""Shared fixtures: a small base, examples on disk, their embeddings and statistics, and a live version."""

import functools
import json
import types

import light_beam  # noqa: F401
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from data_reports import write_counts
from image_files import CLASSES
from tensorflow_data_validation.statistics import stats_impl
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import IngestReport
from components.embedder import component, worker
from components.embedder.backbone import BaseSpec, FrozenBase
from components.embedder.component import DEFAULT_TRUNK_GB, EmbedderExecutor
from components.records.embedding import EmbeddingSummary
from components.row_store.shards import FeatureKey
from schema.features import SPLITS
from serving.releases import versions

SPEC = BaseSpec(weights="random", seed=0, image_size=32, fine_tune_from="conv5_block3")


@pytest.fixture(scope="session")
def spec():
    """Returns the specification of a base with random weights, split below conv5_block3."""
    return SPEC


@pytest.fixture(scope="session")
def write_examples(serialize):
    """Writes examples as ExampleGen does, from lists of files by split, each a list of (bytes, label)."""

    def write(folder, files_by_split):
        counts = {}
        for split in SPLITS:
            target = folder / f"Split-{split}"
            target.mkdir(parents=True)
            files = files_by_split.get(split, [[]])
            for index, images in enumerate(files):
                with tf.io.TFRecordWriter(str(target / f"data_tfrecord-{index:05d}-of-{len(files):05d}")) as writer:
                    for number, (encoded, label) in enumerate(images):
                        writer.write(serialize(encoded, label, f"{label}/{split}-{index}-{number}.jpg"))
            counts[split] = {name: sum(label == name for file in files for _, label in file) for name in CLASSES}
        write_counts(folder, counts)
        return folder

    return write


@pytest.fixture(scope="module")
def bases(small_base):
    """Builds and traces a small base once for all runs of the Embedder of a module, which do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(FrozenBase)
        for module in (component, worker):
            patch.setattr(module, "FrozenBase", cached)
        yield


@pytest.fixture(scope="module")
def embed(transform_graph, bases):
    """Runs the Embedder over a folder of `write_examples`; returns the artifact, the report and the feature keys."""

    def run(examples, out, spec=SPEC, fine_tune_epochs=1, store=None, **properties):
        made = {"examples": standard_artifacts.Examples(), "embeddings": standard_artifacts.Examples()}
        made |= {"transform_graph": standard_artifacts.TransformGraph(), "report": IngestReport()}
        uris = {"examples": examples, "transform_graph": transform_graph, "report": examples, "embeddings": out}
        out.mkdir(parents=True)
        for name, artifact in made.items():
            artifact.uri = str(uris[name])
        made["examples"].split_names = artifact_utils.encode_split_names(list(SPLITS))
        store = store or out.parent / f"{out.name}-store"
        defaults = {"base": spec.to_json(), "fine_tune_epochs": fine_tune_epochs, "store": str(store), "augmented": 0}
        EmbedderExecutor().Do(
            {name: [made[name]] for name in ("examples", "transform_graph", "report")},
            {"embeddings": [made["embeddings"]]},
            defaults | {"trunk_gb": DEFAULT_TRUNK_GB} | properties,
        )
        report = EmbeddingSummary.read(str(out))
        kind, trunk = (FeatureKey.from_json(text) if text else None for text in (report.kind, report.trunk))
        return types.SimpleNamespace(
            uri=str(out), store=str(store), artifact=made["embeddings"], report=report, kind=kind, trunk=trunk
        )

    return run


@pytest.fixture
def frozen_like():
    """Returns a function that makes a stand-in for FrozenBase, with the attributes that `training.train` reads."""
    return lambda network, split_layer=None: types.SimpleNamespace(network=network, split_layer=split_layer)


@pytest.fixture(scope="session")
def write_statistics():
    """Writes TFDV's statistics of training images: label to their number, and how bright they are on average.

    In a folder as StatisticsGen's, but without Beam, which takes seconds; returns its path.
    """

    def write(folder, counts, brightness=120.0, seed=0):
        labels = [[label.encode()] for label, count in counts.items() for _ in range(count)]
        levels = np.random.default_rng(seed).normal(brightness, 15, [len(labels), 1]).astype(np.float32)
        columns = {"label": pa.array(labels), "brightness": pa.array(list(levels))}
        statistics = stats_impl.generate_statistics_in_memory(pa.RecordBatch.from_pydict(columns), tfdv.StatsOptions())
        (folder / "Split-train").mkdir(parents=True)
        (folder / "Split-train/FeatureStats.pb").write_bytes(statistics.SerializeToString())
        return str(folder)

    return write


@pytest.fixture(scope="session")
def serve():
    """Makes a live version with a record and files in `assets.extra/`, content by name; returns the live version."""

    def make(model_dir, extras, number=7, **record):
        files = dict.fromkeys(("saved_model.pb", "variables/variables.index"), b"model")
        files |= {f"assets.extra/{name}": content for name, content in extras.items()}
        files["assets.extra/graft.json"] = json.dumps(record).encode()
        for name, content in files.items():
            path = model_dir / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return versions.find_live(str(model_dir))

    return make
