"""Ingest, embedding and push where nothing is on this machine: on ram://, a store of TensorFlow's that has no rename.

Beam has no file system for it; the one below is TensorFlow's, for what TFX reads with Beam's own.
"""

import json
import types
import uuid

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.io import filesystem
from apache_beam.testing.util import assert_that, equal_to
from hostile_shards import write_shard_with_code
from ingest_properties import make_properties
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import IngestReport
from components.embedder.artifact import read_embeddings
from components.embedder.backbone_cache import open_features
from components.embedder.component import DEFAULT_TRUNK_GB, EmbedderExecutor
from components.example_gen import reading
from components.example_gen.component import ExampleGenExecutor
from components.example_gen.layout import list_images
from components.pusher.push import push
from components.records.embedding import EmbeddingSummary
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore, free_bytes, list_keys
from schema.errors import DataError, UsageError
from schema.features import SPLITS
from serving.releases import models_config, releases, versions
from serving.releases.record import VersionRecord
from serving.storage import schemes
from serving.storage.gfile import gfile
from serving.storage.listing import list_names, measure

pytestmark = pytest.mark.slow

RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}


class RamFileSystem(filesystem.FileSystem):
    """TensorFlow's ram:// as a file system for Beam, which finds it by its scheme."""

    @classmethod
    def scheme(cls):
        return "ram"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        tf.io.gfile.makedirs(path)

    def has_dirs(self):
        return True

    def _list(self, dir_or_prefix):
        for parent, _, names in tf.io.gfile.walk(dir_or_prefix):
            yield from (self.metadata(self.join(parent, name)) for name in names)

    def create(self, path, mime_type="", compression_type=None):
        return tf.io.gfile.GFile(path, "wb")

    def open(self, path, mime_type="", compression_type=None):
        return tf.io.gfile.GFile(path, "rb")

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            tf.io.gfile.copy(source, target)

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            tf.io.gfile.rename(source, target)

    def exists(self, path):
        return tf.io.gfile.exists(path)

    def size(self, path):
        return tf.io.gfile.stat(path).length

    def last_updated(self, path):
        return 0.0

    def checksum(self, path):
        return str(self.size(path))

    def metadata(self, path):
        return filesystem.FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            tf.io.gfile.rmtree(path) if tf.io.gfile.isdir(path) else tf.io.gfile.remove(path)


@pytest.fixture(autouse=True, scope="module")
def replace_objects():
    """Makes a copy replace an existing object, as in a real store; ram:// appends."""
    store = gfile("ram://")
    copy = store.copy

    def replace(source, target, overwrite=False):
        if overwrite and tf.io.gfile.exists(target):
            tf.io.gfile.remove(target)
        copy(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "copy", replace)
        yield


def write(path, content):
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content)


def read(path):
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def make_root():
    """Returns a new folder name that is no prefix of another: ram:// treats names as prefixes."""
    return f"ram://{uuid.uuid4().hex}"


def fill(root, encode, count=20, first=0):
    for seed, label in enumerate(("cat", "dog")):
        for index in range(first, first + count):
            write(f"{root}/photos/{label}/{index:03d}.jpg", encode("jpeg", seed=[seed, index]))


def run_example_gen(root, run, **changes):
    """Runs ExampleGen's executor; returns the artifact with the split names, and the report."""
    examples, report = standard_artifacts.Examples(), IngestReport()
    examples.uri, report.uri = f"{root}/{run}/examples", f"{root}/{run}/report"
    tf.io.gfile.makedirs(report.uri)
    properties = make_properties(f"{root}/photos", f"{root}/decoded", **{"split_ratios": RATIOS} | changes)
    context = BaseBeamExecutor.Context(beam_pipeline_args=[], tmp_dir=root, unique_id="1")
    ExampleGenExecutor(context).Do({}, {"examples": [examples], "report": [report]}, properties)
    return types.SimpleNamespace(
        examples=examples, report_artifact=report, report=json.loads(read(f"{report.uri}/ingest.json"))
    )


def load_examples(artifact):
    """Reads the image of each example by path."""
    found = {}
    for split in SPLITS:
        for file in tf.io.gfile.glob(f"{artifact_utils.get_split_uri([artifact], split)}/*"):
            for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
                feature = tf.train.Example.FromString(record).features.feature
                found[feature["path"].bytes_list.value[0].decode()] = feature["image"].bytes_list.value[0]
    return found


@pytest.fixture(scope="module")
def ingested(encode_image):
    """Writes forty images to ram:// and runs ExampleGen on them."""
    root = make_root()
    fill(root, encode_image)
    write(f"{root}/photos/cat/broken.jpg", b"This is not an image.")
    write(f"{root}/photos/cat/notes.txt", b"a side file")
    return types.SimpleNamespace(root=root, first=run_example_gen(root, "first"))


@pytest.fixture(scope="module")
def remote_graph(transform_graph):
    """Copies the transform graph to ram://."""
    graph = f"{make_root()}/graph"
    versions.copy_tree(transform_graph, graph)
    return graph


def test_images_of_a_store_are_ingested_as_those_of_a_folder(ingested):
    """Every file is an example with its bytes, or in the quarantine; no temporary file is left."""
    found = load_examples(ingested.first.examples)
    assert len(found) == 40
    assert all(content == read(f"{ingested.root}/photos/{path}") for path, content in found.items())
    assert (ingested.first.report["files"], ingested.first.report["broken"]) == (41, 1)
    assert ingested.first.report["ignored"] == {"side file": {".txt": 1}}
    assert b"broken.jpg" in read(f"{ingested.first.report_artifact.uri}/quarantine.jsonl")
    written = [name for _, _, names in tf.io.gfile.walk(f"{ingested.root}/first") for name in names]
    assert not [name for name in written if "temporary" in name or name.endswith(".jsonl") != ("quarantine" in name)]


def test_what_was_decoded_is_kept_in_the_store(ingested, monkeypatch):
    """The next run decodes only broken files, and writes the same examples."""
    decoded = []
    original = reading.try_to_decode
    monkeypatch.setattr(
        reading, "try_to_decode", lambda encoded, limit: decoded.append(encoded) or original(encoded, limit)
    )
    again = run_example_gen(ingested.root, "again")
    assert decoded == [b"This is not an image."]
    assert load_examples(again.examples) == load_examples(ingested.first.examples)


def test_transform_reads_the_examples_of_a_store(ingested):
    """Through a file system of Beam, as TFX does."""
    factory = tfxio_utils.get_tfxio_factory_from_artifact(
        [ingested.first.examples], telemetry_descriptors=["test"], schema=schema_pb2.Schema()
    )
    counts = ingested.first.report["counts"]
    with beam.Pipeline() as pipeline:
        for split in SPLITS:
            source = factory(f"{artifact_utils.get_split_uri([ingested.first.examples], split)}/*").BeamSource()
            rows = pipeline | f"Read {split}" >> source | f"Count {split}" >> beam.Map(lambda batch: batch.num_rows)
            total = rows | f"Sum {split}" >> beam.CombineGlobally(sum)
            assert_that(total, equal_to([sum(counts[split].values())]), label=split)


def embed(ingested, graph, spec, name):
    """Runs the Embedder with all its files on ram://."""
    output, transform_graph = standard_artifacts.Examples(), standard_artifacts.TransformGraph()
    output.uri, transform_graph.uri = f"{ingested.root}/{name}", graph
    inputs = {"examples": ingested.first.examples, "report": ingested.first.report_artifact}
    tf.io.gfile.makedirs(output.uri)
    EmbedderExecutor().Do(
        {key: [artifact] for key, artifact in (inputs | {"transform_graph": transform_graph}).items()},
        {"embeddings": [output]},
        {
            "base": spec.to_json(), "fine_tune_epochs": 1, "store": f"{ingested.root}/store", "augmented": 0,
            "trunk_gb": DEFAULT_TRUNK_GB,
        },
    )  # fmt: skip
    report = EmbeddingSummary.read(output.uri)
    kind, trunk = (FeatureKey.from_json(text) for text in (report.kind, report.trunk))
    return types.SimpleNamespace(uri=output.uri, report=report, kind=kind, trunk=trunk)


@pytest.mark.long
def test_embeddings_are_kept_in_the_store(ingested, remote_graph, small_base, spec, tmp_path):
    """Each image goes through the base once; a second run and phase 2 find all rows, and skip shards with code."""
    from components.embedder.backbone import FrozenBase

    first = embed(ingested, remote_graph, spec, "embeddings")
    images = sum(sum(counts.values()) for counts in ingested.first.report["counts"].values())
    assert (first.report.images, first.report.computed) == (images, images)
    store = f"{ingested.root}/store"
    for kind in (first.kind, first.trunk):
        write_shard_with_code(tmp_path / "code.arrow", kind, tmp_path / "touched")
        tf.io.gfile.copy(str(tmp_path / "code.arrow"), f"{store}/{kind.name}/code.arrow", overwrite=True)
    assert embed(ingested, remote_graph, spec, "later").report.computed == 0
    assert set(list_keys(store)) == {first.kind, first.trunk}
    assert measure(store) > images * first.kind.row_bytes
    assert free_bytes(store) > 0
    digests = read_embeddings(first.uri, "val", ["cat", "dog"]).digests
    assert (EmbeddingStore(store, first.kind).open().find(digests) >= 0).all()
    files = tf.io.gfile.glob(f"{artifact_utils.get_split_uri([ingested.first.examples], 'val')}/*")
    rows, computed = open_features(FrozenBase(spec, remote_graph), store, files)
    assert computed == 0
    assert not (tmp_path / "touched").exists()
    assert rows.read(rows.find(digests)).shape == (len(digests), *first.trunk.shape)


# Versions.


MODEL = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"variables",
    "assets.extra/tf_serving_warmup_requests": b"requests",
}


def make_model(root, change=b""):
    for name, content in MODEL.items():
        write(f"{root}/{name}", content + change)
    return root


@pytest.fixture
def model_dir():
    """Returns the folder of a model's versions; fails if a version is ever visible without its variables."""
    return f"{make_root()}/serving/flowers"


def test_a_model_is_pushed_rolled_back_and_promoted_in_a_store(model_dir):
    """The pushed files are those of the model, with the record, the card and the labels."""
    numbers = []
    for change in (b"1", b"2", b"3"):
        record = VersionRecord(change=change.decode(), salt=3)
        pushed = push(make_model(make_root(), change), model_dir, record, write_card=lambda record: record.render())
        numbers.append(pushed.number)
    assert releases.roll_back(model_dir).number == numbers[2]
    assert releases.read(model_dir).live.record.model_extra["change"] == "2"
    promoted = releases.promote(model_dir, numbers[2])
    live = releases.read(model_dir).live
    assert (live.number, live.record.model_extra["change"]) == (promoted.number, "3")
    assert {name: read(f"{live.path}/{name}") for name in MODEL} == {n: c + b"3" for n, c in MODEL.items()}
    assert read(f"{live.path}/{versions.CARD}") == read(f"{live.path}/{versions.RECORD}")
    assert models_config.read_labels(model_dir) == {"stable": live.number}
    assert releases.keep(model_dir, 1) == numbers[:2]
    assert sorted(tf.io.gfile.listdir(model_dir)) == [str(live.number)]


def test_a_canary_in_a_store_is_never_live_until_it_is_promoted(model_dir):
    """Its number stays below that of the live version, also after a rollback."""
    for change in (b"1", b"2"):
        push(make_model(make_root(), change), model_dir, VersionRecord(change=change.decode(), salt=3))
    canary = push(make_model(make_root(), b"3"), model_dir, VersionRecord(change="3", salt=3), canary=True)
    assert releases.read(model_dir).canary.number == canary.number
    releases.roll_back(model_dir)
    found = releases.read(model_dir)
    assert (found.live.record.model_extra["change"], found.canary.record.model_extra["change"]) == ("1", "3")
    assert releases.promote(model_dir).record.model_extra["change"] == "3"
    assert releases.read(model_dir).canary is None


@pytest.mark.parametrize("interrupted", [*range(1, 6), None])
def test_a_server_that_looks_in_the_middle_of_a_push_sees_whole_versions(model_dir, monkeypatch, interrupted):
    """Between any two copies, and after a failed one: a version with saved_model.pb has all its variables."""
    push(make_model(make_root(), b"1"), model_dir, VersionRecord())
    [live], seen, copy = list_names(model_dir), [], versions.gfile(model_dir).copy

    def look(source, target, **options):
        if len(seen) + 1 == interrupted:
            raise OSError(28, "No space left", target)
        copy(source, target, **options)
        seen.append(see(model_dir))

    monkeypatch.setattr(versions.gfile(model_dir), "copy", look)
    if interrupted:
        with pytest.raises(OSError, match="No space"):
            push(make_model(make_root(), b"2"), model_dir, VersionRecord())
        assert list_names(model_dir) == [live]
    else:
        push(make_model(make_root(), b"2"), model_dir, VersionRecord())
        assert len(seen[-1]) == 2
    whole = {"variables.index", "variables.data-00000-of-00001"}
    assert all(variables == whole for moment in seen for variables in moment.values())
    assert all(list(moment) == [live] for moment in seen[:4])


def see(model_dir):
    """Lists the versions that a model server could load, with the names of their variables."""
    numbers = [name for name in tf.io.gfile.listdir(model_dir) if name.isdigit()]
    loadable = [name for name in numbers if tf.io.gfile.exists(f"{model_dir}/{name}/saved_model.pb")]
    return {name: set(tf.io.gfile.listdir(f"{model_dir}/{name}/variables")) for name in loadable}


def test_the_digest_of_a_version_does_not_depend_on_where_it_is(model_dir, tmp_path):
    """By the digest the Pusher does not push a model twice."""
    version = push(make_model(make_root()), model_dir, VersionRecord())
    versions.copy_tree(version.path, str(tmp_path / "here"))
    assert versions.digest_model(str(tmp_path / "here")) == versions.digest_model(version.path)


# Schemes.


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://photos", r"data: expected .* store that TensorFlow can open \(.*gs://.*\), got s3://photos\. "
         r"s3:// needs the package tensorflow-io.*mount it as a folder"),
        ("swift://photos", r"data: .*got swift://photos\. Mount it as a folder and name that, or copy the files\."),
        ("ram://photos", None),
        ("gs://bucket/photos", None),
        ("photos", None),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_opened_is_refused_before_a_run(path, message):
    """The message has the key, the value and the remedy; the store is not contacted."""
    if message is None:
        schemes.check_scheme(path, "data")
        return
    if path.partition("://")[0] in tf.io.gfile.get_registered_schemes():
        pytest.skip("tensorflow-io is installed")
    with pytest.raises(UsageError, match=message):
        schemes.check_scheme(path, "data")


def test_a_missing_folder_of_a_store_is_refused_as_one_of_this_machine():
    """The message is the same."""
    with pytest.raises(DataError, match="no such folder"):
        list_images(f"{make_root()}/photos")


def test_the_fingerprint_changes_with_the_files_of_a_store(encode_image):
    """The fingerprint covers path and size; ram:// has no times."""
    root = make_root()
    fill(root, encode_image, count=2)
    before = list_images(f"{root}/photos").fingerprint
    assert list_images(f"{root}/photos").fingerprint == before
    fill(root, encode_image, count=1, first=9)
    assert list_images(f"{root}/photos").fingerprint != before
