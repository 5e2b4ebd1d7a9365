"""Embedder: each image goes through the base once in all runs, and stored rows are checked before use."""

import dataclasses
import itertools
import json
import pathlib
import shutil
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_transform as tft
from hostile_shards import write_shard_with_code
from image_files import CLASSES
from small_networks import split_keras

from components import progress
from components.embedder import backbone, component
from components.embedder.artifact import read_embeddings, read_rows
from components.embedder.backbone import FrozenBase
from components.embedder.moments import Moments
from components.embedder.worker import _TOLERANCE, EmbedFile, ExampleFile, Work, Worker
from components.network import resnet
from components.row_store.store import EmbeddingStore
from components.transform import pixels
from schema.errors import GraftError, UsageError

pytestmark = pytest.mark.slow

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def images(make_images, tmp_path_factory):
    """(bytes, label) of 14 images, cats and dogs in turn."""
    folder = tmp_path_factory.mktemp("images")
    paths = {label: make_images(folder, label, 7) for label in CLASSES}
    pairs = zip(*paths.values(), strict=True)
    return [(path.read_bytes(), label) for pair in pairs for label, path in zip(paths, pair, strict=True)]


@pytest.fixture(scope="module")
def split_images(images):
    """8 images to train in two files, 4 to validate, 2 to test."""
    return {"train": [images[:5], images[5:8]], "val": [images[8:12]], "test": [images[12:]]}


@pytest.fixture(scope="module")
def examples(write_examples, split_images, tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples") / "written", split_images)


@pytest.fixture(scope="module")
def embedded_once(embed, examples, small_base, tmp_path_factory):
    """Runs the Embedder with phase 2 on an empty store."""
    return embed(examples, tmp_path_factory.mktemp("first") / "out")


@pytest.fixture
def first(embedded_once, tmp_path):
    """Copies the store of that run for the test."""
    store = shutil.copytree(embedded_once.store, tmp_path / "store")
    return types.SimpleNamespace(**vars(embedded_once) | {"store": str(store)})


@pytest.fixture
def retrained_examples(write_examples, split_images, make_images, tmp_path):
    """Writes the same examples with two new training images, and one removed."""
    new = [(path.read_bytes(), "cat") for path in make_images(tmp_path / "new images", "cat", 2, first=50)]
    train = [split_images["train"][0][1:], split_images["train"][1] + new]
    return write_examples(tmp_path / "retrained", split_images | {"train": train})


def read_all(embedded):
    """Reads the embeddings of all splits by digest."""
    splits = json.loads(embedded.artifact.split_names)
    read = [read_embeddings(embedded.uri, split, CLASSES) for split in splits]
    return {d: e for r in read for d, e in zip(r.digests, r.embeddings, strict=True)}


def test_embeddings_are_those_of_the_base_with_their_labels(embed, examples, transform_graph, small_base, tmp_path):
    """For every image, in the order of the examples; up to the last bits of one forward pass over all."""
    embedded = embed(examples, tmp_path / "out", fine_tune_epochs=0)
    base = small_base(32, "random")
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()
    for split, count in zip(SPLITS, (8, 4, 2), strict=True):
        files = [str(examples / f"Split-{split}" / "*")]
        [(batch, labels)] = pixels.to_pixels(pixels.read_uint8(files, transform, 32))
        found = read_embeddings(embedded.uri, split, CLASSES)
        assert len(found.labels) == count
        expected = resnet.pool(base(batch, training=False)).numpy()
        np.testing.assert_allclose(found.embeddings, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found.labels, labels)
    assert (embedded.report.images, embedded.report.computed) == (14, 14)


def test_the_output_of_the_split_layer_is_kept_for_train_and_val(embed, examples, small_base, tmp_path):
    """For train and val and not for test, which has embeddings only; in bfloat16, equal to the output of that layer."""
    embedded = embed(examples, tmp_path / "out")
    assert (embedded.trunk.layer, embedded.trunk.shape) == ("conv4_block6_out", (2, 2, 16))
    rows = EmbeddingStore(embedded.store, embedded.trunk).open()
    assert len(rows) == 12
    assert json.loads(embedded.artifact.split_names) == ["train", "val", "test"]
    [test] = (examples / "Split-test").iterdir()
    assert (rows.find([row.digest for row in read_rows(str(test))]) == -1).all()
    below = rows.read(rows.find(read_embeddings(embedded.uri, "val", CLASSES).digests)).astype(np.float32)
    _, top = split_keras(small_base(32, "random"), "conv4_block6_out")
    expected = read_embeddings(embedded.uri, "val", CLASSES).embeddings
    rounding = 2**-8 * expected.max()
    np.testing.assert_allclose(resnet.pool(top(below, training=False)).numpy(), expected, atol=rounding)


@pytest.mark.long
def test_features_of_another_precision_are_computed_anew_and_lie_apart(embed, first, examples, spec, tmp_path):
    """In bfloat16 they differ by its rounding. Neither these nor those of an unfolded base are mixed with others."""
    rounded = embed(
        examples, tmp_path / "out", spec=dataclasses.replace(spec, precision="bfloat16"), store=tmp_path / "store"
    )
    assert (rounded.report.computed, rounded.kind.arithmetic) == (14, "folded bfloat16")
    assert first.kind == dataclasses.replace(rounded.kind, arithmetic="folded float32")
    assert len({key.name for key in (first.kind, first.trunk, rounded.kind, rounded.trunk)}) == 4
    exact, found = read_all(first), read_all(rounded)
    apart = max(np.abs(exact[digest] - found[digest]).max() for digest in exact)
    assert 0 < apart < 2e-2 * max(np.abs(row).max() for row in exact.values())


def test_only_new_images_go_through_the_base(embed, first, examples, retrained_examples, small_base, tmp_path):
    """Stored embeddings are used bit-equal; no row is appended twice."""
    again = embed(retrained_examples, tmp_path / "again", store=tmp_path / "store")
    assert (again.report.images, again.report.computed) == (15, 2)
    before, now = read_all(first), read_all(again)
    assert len(set(now) - set(before)) == 2
    assert all(np.array_equal(before[digest], now[digest]) for digest in set(now) & set(before))
    assert len(EmbeddingStore(again.store, again.kind).open()) == 16
    assert len(EmbeddingStore(again.store, again.trunk).open()) == 14


def test_nothing_new_costs_no_forward_pass(embed, first, examples, small_base, tmp_path):
    """The artifact is the same."""
    again = embed(examples, tmp_path / "again", store=tmp_path / "store")
    assert again.report.computed == 0
    for path in pathlib.Path(first.uri).glob("Split-*/*"):
        assert (pathlib.Path(again.uri) / path.relative_to(first.uri)).read_bytes() == path.read_bytes()


def test_what_the_store_holds_decides_nothing_about_xla(embed, first, examples, small_base, tmp_path, monkeypatch):
    """All images of the run count, those that are stored as well: the same images train the same model."""
    asked = []
    monkeypatch.setattr(component, "FrozenBase", FrozenBase)  # the base of `bases` was built before
    monkeypatch.setattr(backbone, "pays_xla", lambda *arguments: bool(asked.append(arguments)))
    assert embed(examples, tmp_path / "again", store=first.store).report.computed == 0
    assert asked
    assert {(network, images, epochs) for network, images, epochs, _ in asked} == {("base", 14, 1)}


@pytest.mark.long
def test_with_xla_all_batches_have_one_size(examples, transform_graph, small_base, spec, monkeypatch):
    """XLA on a CPU: four of five images, padded, have the embeddings and features that they have without XLA."""
    images = str(examples / "Split-train" / "data_tfrecord-00000-of-00002"), np.array([1, 1, 0, 1, 1], bool)
    plain = FrozenBase(spec, transform_graph)
    [(indices, embeddings, extracted)] = plain.run(plain.read(*images), with_features=True)
    monkeypatch.setattr(backbone, "pays_xla", lambda *_: True)
    frozen = FrozenBase(spec, transform_graph)
    assert frozen.xla
    [(same, compiled, features)] = frozen.run(frozen.read(*images), with_features=True)
    assert indices.tolist() == same.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(compiled, embeddings, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features.astype(np.float32), extracted.astype(np.float32), rtol=1e-2, atol=1e-3)
    [(_, alone, _)] = frozen.run(frozen.read(*images), with_features=False)
    np.testing.assert_allclose(alone, embeddings, rtol=1e-4, atol=1e-5)


def test_stored_embeddings_of_another_base_are_refused(embed, first, examples, small_base, tmp_path):
    """Even under the right feature key: a few stored images are embedded again and compared."""
    store = tmp_path / "other"
    with EmbeddingStore(store, first.kind).append() as append:
        append(list(read_all(first)), np.ones((14, 2048), np.float32))
    with pytest.raises(GraftError, match=r"not what the base makes of the images .* Remove this folder"):
        embed(examples, tmp_path / "second", store=store)


def test_an_embedding_depends_on_no_file_and_no_batch(embed, first, write_examples, images, small_base, tmp_path):
    """The same training images in three files, in another order: within the tolerance of the store's check."""
    files = [images[7:4:-1], images[:1], images[4:0:-1]]
    other = embed(write_examples(tmp_path / "other", {"train": files}), tmp_path / "out", fine_tune_epochs=0)
    before, now = read_all(first), read_all(other)
    assert len(now) == 8
    largest = max(np.abs(row).max() for row in before.values())
    assert max(np.abs(before[digest] - now[digest]).max() for digest in now) < _TOLERANCE * largest


def test_larger_batches_keep_the_order_of_the_images(examples, transform_graph, small_base, spec, monkeypatch):
    """A card takes larger batches than one call decodes: here a call decodes one image, and a batch has three."""
    frozen = FrozenBase(spec, transform_graph)
    file, keep = str(examples / "Split-train" / "data_tfrecord-00000-of-00002"), np.array([1, 0, 1, 1, 1], bool)
    [(positions, expected, _)] = frozen.run(frozen.read(file, keep), with_features=False)
    monkeypatch.setattr(backbone, "_DECODED", 1)
    monkeypatch.setattr(backbone, "count_batch", lambda: 3)
    batches = list(frozen.run(frozen.read(file, keep), with_features=False))
    assert [list(batch[0]) for batch in batches] == [[0, 2, 3], [4]]
    assert list(positions) == [0, 2, 3, 4]
    np.testing.assert_allclose(np.concatenate([batch[1] for batch in batches]), expected, rtol=1e-5, atol=1e-5)


def test_decoding_is_ahead_by_a_few_batches_and_keeps_their_order():
    """And an error comes in its place."""
    called = []

    def call(item):
        called.append(item)
        time.sleep(0.01 * (item % 2))
        return 1 / (40 - item)

    with ThreadPoolExecutor(4) as threads:
        results = backbone._map_ahead(threads, call, iter(range(100)))
        while len(called) < backbone._AHEAD:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(called) == backbone._AHEAD
        assert list(itertools.islice(results, 40)) == [1 / (40 - item) for item in range(40)]
        with pytest.raises(ZeroDivisionError):
            next(results)


class Files:
    """Stand-in for a worker: a file is finished when the next one, or the end of the bundle, has come."""

    def __init__(self, names, broken=""):
        self.begun = {name: threading.Event() for name in names}
        self.finished, self._broken = [], broken

    def begin(self, name, attempt):
        self.begun[name].set()
        if name == self._broken:
            raise OSError(5, "Input/output error")
        return name

    def finish(self, name):
        later = [event for other, event in self.begun.items() if other > name][:1]
        assert all(event.wait(120) for event in later)
        self.finished.append(name)
        return name


@pytest.fixture
def embed_files(monkeypatch):
    """Returns a function that runs the DoFn over the files of a stand-in, as Beam does over a bundle."""

    def run(worker):
        do_fn = EmbedFile(None)
        monkeypatch.setattr(do_fn, "acquire_worker", lambda base=None: worker)
        do_fn.setup()
        try:
            do_fn.start_bundle()
            results = [result for name in worker.begun for result in do_fn.process(name)]
            return results + [windowed.value for windowed in do_fn.finish_bundle()]
        finally:
            do_fn.teardown()

    return run


def test_the_next_file_is_begun_before_this_one_is_finished(embed_files):
    assert embed_files(Files("abc")) == ["a", "b", "c"]
    assert embed_files(Files("a")) == ["a"]
    assert embed_files(Files("")) == []


@pytest.mark.parametrize(("broken", "finished"), [("a", []), ("b", ["a"]), ("c", ["a", "b"])])
def test_a_file_that_cannot_be_read_loses_no_file_before_it(embed_files, broken, finished):
    worker = Files("abc", broken)
    with pytest.raises(OSError, match="Input/output error"):
        embed_files(worker)
    assert worker.finished == finished


@pytest.mark.long
def test_a_head_alone_keeps_no_features(embed, examples, small_base, tmp_path):
    """Without phase 2 no features are stored for any `fine_tune_from`; `test` is embedded for the evaluation."""
    embedded = embed(examples, tmp_path / "out", fine_tune_epochs=0)
    assert (embedded.trunk, embedded.report.note) == (None, "")
    assert json.loads(embedded.artifact.split_names) == ["train", "val", "test"]
    assert [path.name for path in pathlib.Path(embedded.store).iterdir()] == [embedded.kind.name]


@pytest.mark.long
def test_fine_tuning_later_adds_the_features(embed, examples, small_base, tmp_path):
    """The images go through the base once more for the features; no embedding is appended twice."""
    embed(examples, tmp_path / "head", fine_tune_epochs=0, store=tmp_path / "store")
    embedded = embed(examples, tmp_path / "both", store=tmp_path / "store")
    assert embedded.report.computed == 12
    assert len(EmbeddingStore(embedded.store, embedded.kind).open()) == 14
    assert len(EmbeddingStore(embedded.store, embedded.trunk).open()) == 12


@pytest.mark.parametrize("damage", [*(pytest.param(d, marks=pytest.mark.long) for d in ("cut", "foreign")), "flipped"])
def test_a_damaged_shard_is_computed_again_and_never_trusted(
    embed, first, examples, small_base, tmp_path, caplog, damage
):
    """Torn, of another key, with a flipped bit, or beside code: a warning, and the embeddings are right."""
    shards = sorted((tmp_path / "store" / first.kind.name).glob("*.arrow"))
    content = bytearray(shards[0].read_bytes())
    if damage == "cut":
        shards[0].write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        [foreign, *_] = (tmp_path / "store" / first.trunk.name).glob("*.arrow")
        shards[0].write_bytes(foreign.read_bytes())
    else:
        content[len(content) // 2] ^= 0x10
        shards[0].write_bytes(content)
    for kind in (first.kind, first.trunk):
        write_shard_with_code(tmp_path / "store" / kind.name / "code.arrow", kind, tmp_path / "touched")
    again = embed(examples, tmp_path / "again", store=tmp_path / "store")
    assert "computed again" in caplog.text
    assert 0 < again.report.computed < 14
    before, now = read_all(first), read_all(again)
    assert all(np.allclose(before[digest], now[digest], rtol=1e-5, atol=1e-5) for digest in before)
    embed(examples, tmp_path / "third", store=tmp_path / "store")  # a shard that was set aside took good rows with it
    assert embed(examples, tmp_path / "fourth", store=tmp_path / "store").report.computed == 0
    assert not (tmp_path / "touched").exists()


def test_a_run_that_was_killed_leaves_what_it_finished(embed, examples, small_base, tmp_path, monkeypatch):
    """The last file cannot be decoded, which shows while the one before is embedded: the next run computes it alone."""
    read, begun = FrozenBase.read, []

    def fail_later(self, source, keep):
        begun.append(source)
        if len(begun) == 4:
            raise OSError(5, "Input/output error")
        return read(self, source, keep)

    with monkeypatch.context() as patch:
        patch.setattr(FrozenBase, "read", fail_later)
        with pytest.raises(Exception, match="Input/output error"):
            embed(examples, tmp_path / "killed", store=tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.tmp"))
    again = embed(examples, tmp_path / "again", store=tmp_path / "store")
    assert again.report.computed == len(read_rows(begun[-1]))


def test_images_of_an_earlier_attempt_are_computed_once_and_counted_once(
    examples, transform_graph, small_base, tmp_path, spec, monkeypatch
):
    """An engine starts a job anew, on a worker that has outlived it, or on another that has waited meanwhile."""
    frozen = FrozenBase(spec, transform_graph)
    work = Work(spec, transform_graph, str(tmp_path), frozen.embedding_key, frozen.extractor_key, 14, "this-run")
    outlives, waited, later = (Worker(dataclasses.replace(work, run=r), frozen) for r in ("this-run",) * 2 + ("next",))
    file = ExampleFile(
        *(str(f / "data_tfrecord-00000-of-00002") for f in (examples / "Split-train", tmp_path)), "train"
    )
    assert outlives.finish(outlives.begin(file, "first"))[0] == 5
    for worker, computed in ((outlives, 5), (waited, 5), (later, 0)):
        worker._checked = True  # which would run up to 8 images
        monkeypatch.setattr(frozen, "run", lambda *args, **kwargs: pytest.fail("an image went through the base again"))
        assert worker.finish(worker.begin(file, "second"))[0] == computed
    for key in (frozen.embedding_key, frozen.extractor_key):
        [shard] = pathlib.Path(tmp_path, key.name).glob("*.arrow")
        assert shard.name.startswith("this-run-first-")
        assert len(EmbeddingStore(str(tmp_path), key).open()) == 5


def test_a_run_removes_its_own_temporary_files_and_leaves_those_of_others(
    embed, first, examples, small_base, tmp_path, monkeypatch
):
    """A worker that the engine has killed leaves them; another run may be writing its own."""
    monkeypatch.setattr(component, "_name_run", lambda: "this-run")
    left = [pathlib.Path(first.store, key.name) for key in (first.kind, first.trunk)]
    for folder in left:
        for run in ("this-run", "another"):
            (folder / f"{run}-attempt-1.arrow.2.tmp").write_text("half")
    embed(examples, tmp_path / "again", store=tmp_path / "store")
    for folder in left:
        assert [path.name for path in folder.glob("*.tmp")] == ["another-attempt-1.arrow.2.tmp"]


def test_augmentation_switches_the_stores_off(embed, examples, small_base, tmp_path, caplog):
    """No embedding is computed, read or written, and the log says so."""
    caplog.set_level("INFO", logger="absl")
    embedded = embed(examples, tmp_path / "out", augmented=1)
    assert (embedded.kind, embedded.trunk, embedded.report.computed) == (None, None, 0)
    assert "images are augmented" in caplog.text
    assert not pathlib.Path(embedded.store).exists()
    assert Moments.read(embedded.uri) is None


@pytest.mark.long
def test_a_budget_that_is_too_small_keeps_no_features(embed, examples, small_base, tmp_path):
    """Embeddings are stored; the report gives the needed space."""
    embedded = embed(examples, tmp_path / "out", trunk_gb=12 * 128 / 1e9 - 1e-9)
    assert embedded.trunk is None
    assert "would take 0.0 GB, and the budget is 0.0 GB" in embedded.report.note
    assert embed(examples, tmp_path / "enough", trunk_gb=12 * 128 / 1e9).trunk


@pytest.mark.long
def test_features_of_another_base_make_room(embed, examples, retrained_examples, small_base, tmp_path, spec):
    """With space for one base, the features of another base are removed; then those of removed images."""
    other = embed(examples, tmp_path / "other", dataclasses.replace(spec, seed=1), store=tmp_path / "store")
    mine = embed(examples, tmp_path / "mine", store=tmp_path / "store", trunk_gb=30e-6)
    assert len(EmbeddingStore(mine.store, other.trunk).open()) == 12
    embed(examples, tmp_path / "poor", store=tmp_path / "store", trunk_gb=8e-6)
    assert len(EmbeddingStore(mine.store, other.trunk).open()) == 0
    assert len(EmbeddingStore(mine.store, mine.trunk).open()) == 12
    assert len(EmbeddingStore(mine.store, other.kind).open()) == 14  # embeddings are small, and stay
    embed(retrained_examples, tmp_path / "new", store=tmp_path / "store", trunk_gb=3e-6)
    assert len(EmbeddingStore(mine.store, mine.trunk).open()) == 13


@pytest.mark.long
def test_a_base_of_other_weights_shares_nothing(embed, first, examples, small_base, tmp_path, spec):
    """Another seed of random weights is another base, and so is another weights file."""
    other = embed(examples, tmp_path / "other", dataclasses.replace(spec, seed=1), store=tmp_path / "store")
    assert other.report.computed == 14


def test_a_worker_with_another_base_refuses_to_work(examples, transform_graph, small_base, tmp_path, spec):
    """A machine of a cluster with another weights file would store wrong rows, and so would one with another device."""
    kind = FrozenBase(dataclasses.replace(spec, seed=1), transform_graph).embedding_key
    with pytest.raises(GraftError, match="weights differ between the machines"):
        Worker(Work(spec, transform_graph, str(tmp_path), kind, None, 0, "run"))
    on_a_card = dataclasses.replace(kind, arithmetic="folded TF32")
    with pytest.raises(GraftError, match="in folded TF32 where the run was started, and in folded float32 on a worker"):
        Worker(Work(spec, transform_graph, str(tmp_path), on_a_card, None, 0, "run"))


def test_an_unknown_layer_fails_before_the_first_image(embed, examples, small_base, tmp_path, spec):
    """The message lists the valid names."""
    with pytest.raises(UsageError, match="no layer of ResNet50 is called 'conv9'"):
        embed(examples, tmp_path / "out", dataclasses.replace(spec, fine_tune_from="conv9"))


@pytest.mark.long
def test_progress_counts_every_image_once(embed, first, examples, retrained_examples, small_base, tmp_path):
    """Images from the store count, too."""
    events = []
    with progress.listen(events.append):
        embed(retrained_examples, tmp_path / "again", store=tmp_path / "store")
    assert sum(e.done for e in events) == 15
    assert {e.total for e in events if e.step == "images embedded"} == {15}


def check_moments(embedded):
    """The moments cover both training files and no other split."""
    found = Moments.read(embedded.uri)
    trained = read_embeddings(embedded.uri, "train", CLASSES).embeddings.astype(np.float64)
    assert (found.kind, found.count) == (embedded.kind.to_json(), 8)
    np.testing.assert_allclose(found.mean, trained.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.squares / 8, trained.var(axis=0), rtol=1e-9, atol=1e-12)
    files = {path.name for path in pathlib.Path(embedded.uri).iterdir() if not path.name.startswith("Split-")}
    assert files == {"embedding.json", "moments.npz"}


def test_the_moments_of_the_training_images_stand_beside_the_embeddings(embedded_once):
    check_moments(embedded_once)


@pytest.mark.long
@pytest.mark.parametrize("fine_tune_epochs", [0, 1])
def test_moments_are_the_same_from_the_store(embed, examples, small_base, tmp_path, fine_tune_epochs):
    """Computed by one run, and read by the next."""
    for name in ("computed", "stored"):
        embedded = embed(examples, tmp_path / name, fine_tune_epochs=fine_tune_epochs, store=tmp_path / "store")
        check_moments(embedded)
    assert embedded.report.computed == 0
