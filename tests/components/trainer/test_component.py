"""Trainer: its inputs, its training and its export."""

import dataclasses
import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from hostile_shards import write_shard_with_code
from made_up_parameters import PARAMETERS
from PIL import Image
from tfx import types
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from training_settings import AUGMENTED, OFF, SETTINGS, change

from components.records.embedding import EmbeddingSummary
from components.records.predictions import PREDICTIONS, read_predictions
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore
from components.trainer import component, training
from components.trainer.devices import choose_devices
from components.trainer.phase import FINE_TUNE, HEAD
from components.trainer.settings import Settings
from components.trainer.training import Inputs
from components.transform.samples import get_image
from serving.export import signatures
from serving.export.calibration import read_calibration
from serving.export.network import BaseOrigin
from serving.releases import versions
from serving.server.inference import Model
from serving.server.servable import Servable
from serving.server.warmup import warm_up

pytestmark = pytest.mark.slow

PHASE_2_LEARNS = {
    "head_epochs": 1,
    "head_learning_rate": 1e-7,
    "fine_tune_epochs": 4,
    "fine_tune_learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def examples(tmp_path_factory, make_images, write_examples):
    """10 training and 6 validation images in two files and one, half cats, half dogs."""
    folder = tmp_path_factory.mktemp("examples")

    def make(count, first):
        paths = {label: make_images(folder / "images", label, count, first=first) for label in SETTINGS.classes}
        pairs = zip(*paths.values(), strict=True)
        return [(p.read_bytes(), label) for pair in pairs for label, p in zip(paths, pair, strict=True)]

    train = make(5, 0)
    files = {"train": [train[:6], train[6:]], "val": [make(3, 5)], "test": [make(1, 8)]}
    return write_examples(folder / "written", files)


@pytest.fixture(scope="module")
def large_examples(tmp_path_factory, write_examples):
    """10 training and 6 validation images of noise: 12 kB each on disk, 3 kB resized."""
    random = np.random.default_rng(0)

    def make(index):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
        return file.getvalue(), SETTINGS.classes[index % 2]

    files = {split: [[make(i) for i in range(count)]] for split, count in (("train", 10), ("val", 6))}
    return write_examples(tmp_path_factory.mktemp("large") / "written", files)


@pytest.fixture(scope="module")
def train(examples, transform_graph, embed, small_base):
    """Returns a function that embeds, and runs `run_fn` with other settings; gives the folders it wrote."""

    def run(out, data=examples, between=None, trunk_gb=1.0, **changes):
        settings = change(SETTINGS, store=str(out / "store"), **changes)
        augmented = int(settings.augmentation != OFF)
        embedded = embed(
            data,
            out / "embeddings",
            dataclasses.replace(settings.base, fine_tune_from=settings.fine_tune_from),
            settings.fine_tune_epochs,
            out / "store",
            augmented=augmented,
            trunk_gb=trunk_gb,
        )
        if between:
            between(embedded)
        fn_args = FnArgs(
            train_files=[str(data / "Split-train" / "*")],
            eval_files=[str(data / "Split-val" / "*")],
            transform_output=transform_graph,
            serving_model_dir=str(out / "model"),
            model_run_dir=str(out / "run"),
            custom_config=settings.model_dump()
            | {"embeddings": embedded.uri, "test_files": [str(data / "Split-test" / "*")]},
        )
        component.run_fn(fn_args)
        history = json.loads((out / "run/history.json").read_text())
        return SimpleNamespace(model=str(out / "model"), run=out / "run", embedded=embedded, **history)

    return run


@pytest.fixture(scope="module")
def val_examples(examples):
    """The validation examples, serialized."""
    return read_records(examples / "Split-val")


def read_records(folder):
    """The examples of a split, serialized."""
    return tf.constant([r.numpy() for r in tf.data.TFRecordDataset(sorted(map(str, folder.iterdir())))])


def predict(path, examples):
    return tf.saved_model.load(path).signatures["examples"](examples=examples)["probabilities"].numpy()


@pytest.fixture(scope="module")
def head_only(train, tmp_path_factory):
    """A run without phase 2. A coverage of 0.5 needs one image of `val`."""
    return train(tmp_path_factory.mktemp("head_only"), coverage=0.5)


@pytest.fixture(scope="module")
def fine_tuned(train, tmp_path_factory):
    """A run whose phase 2 learns, and whose head learns almost nothing."""
    out = tmp_path_factory.mktemp("fine_tuned")
    return train(out, coverage=0.5, **PHASE_2_LEARNS)


def check_val_predictions(trained, folder):
    """Checks that the kept probabilities of `val` are the exported model's output, and give the score of the phase."""
    kept = read_predictions(str(trained.run / PREDICTIONS))
    examples = read_records(folder / "Split-val")
    predicted = predict(trained.model, examples)
    given = [tf.train.Example.FromString(example).features.feature for example in examples.numpy()]
    order = {feature["path"].bytes_list.value[0].decode(): row for row, feature in enumerate(given)}
    np.testing.assert_allclose(kept.candidate, predicted[[order[path] for path in kept.path]], atol=1e-5)
    assert (set(kept.split), len(kept), kept.has_baseline().any()) == ({"val"}, 6, False)
    chosen = [kept.classes[row] for row in kept.candidate.argmax(axis=1)]
    accuracy = np.mean([name == label for name, label in zip(chosen, kept.label, strict=True)])
    score = trained.scores[trained.kept]
    assert accuracy == pytest.approx(score["accuracy"])
    best = next(row for row in trained.epochs if row["best"] and row["phase"] == trained.kept)
    assert (score["loss"], score["accuracy"]) == pytest.approx((best["val_loss"], best["val_accuracy"]), rel=1e-3)


def test_predictions_of_val_are_those_of_the_exported_model(head_only, fine_tuned, examples):
    """This holds for the head on embeddings and for the tail on features."""
    assert (head_only.kept, fine_tuned.kept) == (HEAD, FINE_TUNE)
    check_val_predictions(head_only, examples)
    check_val_predictions(fine_tuned, examples)


def test_history_and_curves_are_written(head_only):
    """A row per epoch with its phase, and a picture; the logs for TensorBoard stand beside."""
    assert head_only.kept == HEAD
    assert [(row["phase"], row["epoch"]) for row in head_only.epochs] == [(HEAD, 1), (HEAD, 2)]
    for row in head_only.epochs:
        assert all(math.isfinite(row[key]) for key in ("loss", "accuracy", "val_loss", "val_accuracy"))
    with Image.open(io.BytesIO((head_only.run / "training_curves.png").read_bytes())) as picture:
        assert picture.format == "PNG"
    assert list((head_only.run / "tensorboard" / HEAD).rglob("events.out.tfevents.*"))


@pytest.mark.long  # test_training has the rule
def test_a_fine_tuned_model_that_is_worse_on_val_is_not_exported(train, head_only, val_examples, tmp_path):
    """A learning rate without bounds ruins the network: what is exported is the head, as if phase 2 had never been."""
    ruined = train(tmp_path, fine_tune_epochs=1, fine_tune_learning_rate=1e30)
    assert [row["phase"] for row in ruined.epochs] == [HEAD, HEAD, FINE_TUNE]
    assert not ruined.epochs[-1]["val_loss"] < ruined.epochs[1]["val_loss"]
    assert ruined.kept == HEAD
    np.testing.assert_allclose(predict(ruined.model, val_examples), predict(head_only.model, val_examples), atol=1e-5)


def test_a_fine_tuned_model_that_is_better_on_val_is_exported(fine_tuned, val_examples):
    """The model scores on `val` what the history says."""
    best = min((row for row in fine_tuned.epochs if row["phase"] == FINE_TUNE), key=lambda row: row["val_loss"])
    assert fine_tuned.kept == FINE_TUNE
    assert best["val_loss"] < fine_tuned.epochs[0]["val_loss"]
    probabilities = predict(fine_tuned.model, val_examples)
    labels = np.array([0, 1] * 3)
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(best["val_accuracy"])
    # What phase 2 starts from is kept in bfloat16.
    assert -np.log(probabilities[range(6), labels]).mean() == pytest.approx(best["val_loss"], rel=2e-2, abs=1e-3)


def test_phase_2_starts_from_what_the_embedder_has_kept(fine_tuned):
    """No image goes through the feature extractor in the Trainer."""
    assert fine_tuned.embedded.trunk.layer == "conv4_block6_out"
    assert fine_tuned.trunk_computed == 0


@pytest.mark.long  # the store itself has tests of pruning
def test_what_was_pruned_meanwhile_is_computed_again(train, fine_tuned, val_examples, tmp_path):
    """The store lost rows after the Embedder ran: the Trainer computes them and ignores a shard with code."""

    def prune(embedded):
        kept = EmbeddingStore(embedded.store, embedded.trunk)
        assert kept.prune([]) == 16
        write_shard_with_code(f"{kept.folder}/code.arrow", kept.key, tmp_path / "touched")

    again = train(
        tmp_path,
        between=prune,
        head_epochs=1,
        head_learning_rate=1e-7,
        fine_tune_epochs=4,
        fine_tune_learning_rate=1e-3,
    )
    assert again.trunk_computed == 16
    assert not (tmp_path / "touched").exists()
    expected = predict(fine_tuned.model, val_examples)
    np.testing.assert_allclose(predict(again.model, val_examples), expected, atol=1e-3)


@pytest.mark.long  # test_training compares both ways of phase 2
def test_without_a_budget_phase_2_reads_the_images(train, fine_tuned, val_examples, tmp_path, caplog):
    """No features are kept, and log and report give the reason; the model is the same except for rounding."""
    caplog.set_level("INFO", logger="absl")
    poor = train(tmp_path, trunk_gb=0.0, **PHASE_2_LEARNS)
    assert poor.embedded.trunk is None
    assert "the budget is 0.0 GB: each epoch runs the frozen part again" in poor.embedded.report.note
    assert poor.embedded.report.note in caplog.text
    assert [row["phase"] for row in poor.epochs] == [row["phase"] for row in fine_tuned.epochs]


@pytest.mark.parametrize("kind", [pytest.param("head_only", marks=pytest.mark.long), "fine_tuned"])
def test_a_server_warms_an_exported_model_up_with_images_of_the_test_split(request, examples, kind):
    """The requests are one image, a batch, and one example, all from the test split."""
    path = request.getfixturevalue(kind).model
    servable = Servable(path)
    asked = []

    def run(inputs, outputs):
        asked.extend(inputs.values())
        return servable.run(inputs, outputs)

    warm_up(Model("graft", 1, servable.signatures, run), path)
    test = [get_image(example) for example in read_records(examples / "Split-test").numpy()]
    assert [len(values) for values in asked] == [1, 2, 1]
    assert [list(asked[0]), sorted(asked[1]), get_image(asked[2][0])] == [test[:1], sorted(test), test[0]]
    assert signatures.read_classes(path) == SETTINGS.classes


def test_a_head_alone_can_be_asked_with_embeddings(head_only, examples, val_examples):
    """The answer is that for the image itself; and the model says which embeddings it takes."""
    assert signatures.read_embedding_key(head_only.model) == head_only.embedded.kind.to_json()
    embedded = read_records(head_only.run.parent / "embeddings" / "Split-val")
    answer = tf.saved_model.load(head_only.model).signatures["embedded_examples"](examples=embedded)
    np.testing.assert_allclose(answer["probabilities"], predict(head_only.model, val_examples), atol=1e-5)
    assert set(answer) == {"probabilities", "label", "classes", "accepted"}


def test_a_fine_tuned_model_takes_no_embeddings(fine_tuned):
    """Stored embeddings come from the base before phase 2."""
    assert signatures.read_embedding_key(fine_tuned.model) == ""
    assert set(tf.saved_model.load(fine_tuned.model).signatures) == {
        "serving_default",
        "examples",
        "transform_features",
        "pixels",
        "explain",
    }


@pytest.mark.parametrize("kind", ["head_only", "fine_tuned"])
def test_accepted_goes_by_the_distance_of_the_embedding_that_is_served(request, val_examples, kind):
    """Four of six validation images reach the threshold, by embeddings of the store or of the fine-tuned network."""
    path = request.getfixturevalue(kind).model
    found = read_calibration(path)
    assert (found.score, found.images) == ("distance", 6)
    loaded = tf.saved_model.load(path)
    outputs, scores = loaded.score_examples(val_examples)
    np.testing.assert_array_equal(outputs["accepted"], scores >= found.threshold)
    # ceil(7 * 0.5) of 6; what phase 2 starts from is kept in bfloat16, so a score may fall below.
    assert np.sum(outputs["accepted"]) in ((4,) if kind == "head_only" else (3, 4, 5))


@pytest.mark.long  # tests/pipeline/test_retraining.py has a run with a warm start
def test_a_warm_start_trains_on_from_the_live_model(train, head_only, tmp_path):
    """A step of next to nothing leaves the head where it begins: at that of the live model, and not at a random one."""
    nothing = {"head_epochs": 1, "head_learning_rate": 1e-12}
    live, warm, cold = (
        signatures.read_last_weights(path, 4)
        for path in (
            head_only.model,
            train(tmp_path / "warm", live=head_only.model, **nothing).model,
            train(tmp_path / "cold", **nothing).model,
        )
    )
    for a, b in zip(warm, live, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert np.abs(cold[0] - live[0]).max() > 1e-4


def make_artifact(kind, uri, **properties):
    artifact = kind()
    artifact.uri = str(uri)
    for name, value in properties.items():
        setattr(artifact, name, value)
    return [artifact]


@pytest.fixture
def read_settings(tmp_path):
    """Returns a function that asks the executor for the settings of a training; gives what `run_fn` would read."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema/schema.pbtxt").touch()
    splits = artifact_utils.encode_split_names(["train", "val", "test"])
    inputs = {
        "examples": make_artifact(standard_artifacts.Examples, tmp_path / "examples", split_names=splits),
        "embeddings": make_artifact(standard_artifacts.Examples, tmp_path / "embeddings", split_names=splits),
        "transform_graph": make_artifact(standard_artifacts.TransformGraph, tmp_path / "graph"),
        "schema": make_artifact(standard_artifacts.Schema, tmp_path / "schema"),
    }
    outputs = {
        "model": make_artifact(standard_artifacts.Model, tmp_path / "model"),
        "model_run": make_artifact(standard_artifacts.ModelRun, tmp_path / "run"),
    }
    examples_utils.set_payload_format(inputs["examples"][0], example_gen_pb2.FORMAT_TF_EXAMPLE)

    def read(warm_start=False, **properties):
        channels = {name: types.Channel(type=type(artifact)) for name, [artifact] in inputs.items()}
        live = {"live": properties.pop("live")} if "live" in properties else {}
        defaults = {"head_epochs": 2, "fine_tune_epochs": 0, "model_dir": str(tmp_path / "serving")}
        parameters = dataclasses.replace(PARAMETERS, **defaults | properties)
        settings = change(SETTINGS, warm_start=warm_start)
        made = component.Trainer(**channels, settings=settings, parameters=parameters, **live)
        executor = component.TrainerExecutor()
        return Settings.check(executor._GetFnArgs(inputs, outputs, made.exec_properties).custom_config, "test")

    return read


def test_the_epochs_of_a_run_count_and_not_those_of_the_settings(read_settings):
    """On Kubeflow the epochs are parameters of a run."""
    settings = read_settings(head_epochs=7, fine_tune_epochs=3)
    assert (settings.head_epochs, settings.fine_tune_epochs) == (7, 3)
    assert settings.base.fine_tune_from == "conv5_block3"
    assert change(settings, fine_tune_epochs=0).base.fine_tune_from == ""


@pytest.mark.parametrize(
    ("asked", "arithmetic", "expected"),
    [
        ("auto", "folded bfloat16", "bfloat16"),
        ("auto", "folded float32", "float32"),
        ("auto", "folded TF32", "float32"),
        ("auto", None, "float32"),
        ("float32", "folded bfloat16", "float32"),
        ("float16", "folded float32", "float32"),
        ("bfloat16", None, "bfloat16"),
    ],
)
def test_auto_is_what_the_embedder_chose(asked, arithmetic, expected):
    """The Embedder may have run on a card, and the Trainer has none; without embeddings its own device decides."""
    key = FeatureKey("embedding", "weights", "graph", (2048,), "float32", arithmetic or "")
    report = EmbeddingSummary(kind=key.to_json() if arithmetic else None, trunk=None, images=1, computed=1, note="")
    base = change(SETTINGS, precision=asked).base
    assert component.follow_embedder(base, report).precision == expected


def test_the_folders_of_a_run_are_told(read_settings, tmp_path):
    """The embeddings, and the test images for the warm-up of a server."""
    settings = read_settings()
    assert settings.embeddings == str(tmp_path / "embeddings")
    assert settings.test_files == [str(tmp_path / "examples/Split-test/*")]


@pytest.fixture
def serving(tmp_path):
    """Two versions; the identity of the one that was live when the run began, and of the one that is live now."""
    for number in (8, 9):
        (tmp_path / f"serving/{number}/variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/variables.index"):
            (tmp_path / f"serving/{number}" / name).write_text(name)
    return [version.identity for version in versions.find_versions(str(tmp_path / "serving"))]


def test_a_warm_start_is_from_the_version_that_was_live(read_settings, serving, tmp_path):
    """When the run began, if that is known; without a version it is none, and the start is cold."""
    assert read_settings(warm_start=True, live=serving[0]).live == str(tmp_path / "serving/8")
    assert read_settings(warm_start=True, live="").live == str(tmp_path / "serving/9")
    assert read_settings(warm_start=True, live="none").live == ""
    assert read_settings(warm_start=True, live="", model_dir=str(tmp_path / "nowhere")).live == ""


def test_unless_it_is_asked_for_the_start_is_cold(read_settings, serving):
    """The live version does not matter."""
    assert read_settings(live=serving[1]).live == ""


def test_the_export_holds_no_optimizer(fine_tuned, small_base):
    """Adam's slots would triple the file: no more floats than the network has."""
    [data] = (fine_tuned.run.parent / "model/variables").glob("variables.data-*")
    head = (2048 + 2048) + 2048 * 8 + 8 + 8 * 2 + 2
    assert data.stat().st_size < 4 * (small_base(32, "random").count_params() + head) * 1.2


@pytest.mark.long
def test_an_augmented_run_exports_what_it_validated_and_leaves_no_images_behind(
    train, large_examples, tmp_path, caplog
):
    """Neither `val` nor what is exported is augmented; resized images were on disk meanwhile."""
    caplog.set_level("INFO", logger="absl")
    augmented = train(tmp_path, large_examples, augmentation=AUGMENTED)
    best = min(augmented.epochs, key=lambda row: row["val_loss"])
    val = tf.constant(
        [r.numpy() for r in tf.data.TFRecordDataset([str(p) for p in (large_examples / "Split-val").iterdir()])]
    )
    loss = -np.log(predict(augmented.model, val)[range(6), np.array([0, 1] * 3)]).mean()
    assert loss == pytest.approx(best["val_loss"], rel=1e-3, abs=1e-5)
    assert "so every epoch runs them through the base anew: nothing is kept or reused" in caplog.text
    assert not (tmp_path / "store").exists()
    assert "Resized images are kept on disk" in caplog.text
    check_val_predictions(augmented, large_examples)
    assert [path.name for path in augmented.run.iterdir() if path.is_dir()] == ["tensorboard"]


@pytest.fixture
def export(monkeypatch, tmp_path):
    """Returns a function that exports a model without a network; gives the arguments of `export_saved_model`."""
    given = {}
    monkeypatch.setattr(component, "export_saved_model", lambda *args, **kwargs: given.update(arguments=args))
    monkeypatch.setattr(component.resnet, "build_logits", lambda *args: None)
    monkeypatch.setattr(component.served, "make_network", lambda *args: args)
    monkeypatch.setattr(component.served, "write_unscaled", lambda *args: None)
    key = FeatureKey("embedding", "digest", "graph", (2048,), "float32", "folded float32")

    def run(kept, **changes):
        fn_args = SimpleNamespace(transform_output=str(tmp_path), serving_model_dir=str(tmp_path))
        trained = SimpleNamespace(head=None, kept=kept)
        frozen = SimpleNamespace(network=None, embedding_key=key)
        component.export(frozen, trained, None, fn_args, change(SETTINGS, **changes))
        return given["arguments"]

    return run


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kept", [HEAD, FINE_TUNE])
def test_a_model_names_the_weights_of_its_base_and_the_embeddings_that_it_takes(export, tmp_path, kept, precision):
    """Those of its own arithmetic: embeddings in float32 are not those of a base that computes in bfloat16."""
    settings = {"serving_precision": precision, "weights": "/home/me/notop.h5", "fine_tune_from": "conv5_block2"}
    network, _, _, _, key, *_ = export(kept, warmup_images=0, **settings)
    trained = "conv5_block2" if kept == FINE_TUNE else ""
    expected = BaseOrigin(weights="notop.h5", digest="digest", fine_tuned_from=trained, precision=precision)
    assert BaseOrigin.read(str(tmp_path / "assets.extra")) == expected
    assert network[-1] == precision
    assert (FeatureKey.from_json(key).arithmetic if key else "none") == (
        f"folded {precision}" if kept == HEAD else "none"
    )


@pytest.mark.parametrize("count", [0, 1, 8])
def test_warmup_images_bounds_the_photographs_that_travel_with_a_model(export, examples, monkeypatch, count):
    """The split `test` has two images here; with 0 no request is written."""
    written = {}
    monkeypatch.setattr(component, "write_warmup_requests", lambda path, images, name: written.update(images=images))
    export(FINE_TUNE, warmup_images=count, test_files=[str(examples / "Split-test" / "*")])
    assert len(written.get("images", [])) == min(count, 2)


@pytest.mark.long
@pytest.mark.parametrize("augmentation", [OFF, AUGMENTED], ids=["plain", "augmented"])
def test_resized_images_on_disk_change_nothing(
    large_examples, transform_graph, small_base, frozen_like, tmp_path, augmentation
):
    """The same history and weights to the bit after both phases, with them and without."""
    settings = change(SETTINGS, fine_tune_epochs=2, augmentation=augmentation)
    fn_args = FnArgs(
        train_files=[str(large_examples / "Split-train" / "*")], eval_files=[str(large_examples / "Split-val" / "*")]
    )
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()

    def run(cache):
        inputs = Inputs(component.read_images(fn_args, transform, settings, cache), None, None)
        frozen = frozen_like(small_base(32, "random"))
        trained = training.train(frozen, inputs, settings, choose_devices("float32"), str(tmp_path / "logs"))
        return trained.history, frozen.network.get_weights(), trained.head.get_weights()

    cache = tmp_path / "cache"
    cache.mkdir()
    np.testing.assert_equal(run(str(cache)), run(None))
    assert {path.name.split(".")[0] for path in cache.iterdir()} == {"train", "val"}
