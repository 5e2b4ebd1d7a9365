"""The Trainer: what it reads, checks and exports."""

import dataclasses
import io
import json
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image
from tfx.components.trainer.fn_args_utils import FnArgs

from components import trainer, training
from components.devices import choose_devices
from components.embedding_store import EmbeddingStore
from components.samples import get_image
from components.training import FINE_TUNE, HEAD, Inputs, Settings
from serving import signatures
from serving.server.inference import Model
from serving.server.servable import Servable
from serving.server.warmup import warm_up

OFF = {"flip": "none", "rotation": 0.0, "zoom": 0.0, "contrast": 0.0}
AUGMENTED = {"flip": "horizontal", "rotation": 0.1, "zoom": 0.1, "contrast": 0.1}
SETTINGS = Settings(
    classes=["cat", "dog"],
    image_size=32,
    weights="random",
    head_units=[8],
    dropout=0.0,
    head_epochs=2,
    head_learning_rate=1e-3,
    fine_tune_epochs=0,
    fine_tune_learning_rate=1e-4,
    fine_tune_from="conv5_block3",
    precision="float32",
    batch_size=4,
    early_stopping_patience=3,
    label_smoothing=0.0,
    class_weights="none",
    augmentation=OFF,
    seed=0,
    store="",
    model_name="graft",
    cache_key={},
)
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
    """As many, of noise: files of 12 kB, which resized take 3 kB."""
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
        settings = dataclasses.replace(SETTINGS, store=str(out / "store"), **changes)
        augmented = int(settings.augmentation != OFF)
        embedded = embed(
            data,
            out / "embeddings",
            settings.base,
            ["train", "val"] if settings.fine_tune_epochs else ["train", "val", "test"],
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
            custom_config=dataclasses.asdict(settings)
            | {"embeddings": embedded.uri, "test_files": [str(data / "Split-test" / "*")]},
        )
        trainer.run_fn(fn_args)
        history = json.loads((out / "run/history.json").read_text())
        return types.SimpleNamespace(model=str(out / "model"), run=out / "run", embedded=embedded, **history)

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
    """A run without phase 2."""
    return train(tmp_path_factory.mktemp("head_only"))


@pytest.fixture(scope="module")
def fine_tuned(train, tmp_path_factory):
    """A run whose head has learnt next to nothing, and phase 2 has."""
    out = tmp_path_factory.mktemp("fine_tuned")
    return train(out, **PHASE_2_LEARNS)


def test_history_and_curves_are_written(head_only):
    """A row per epoch with its phase, and a picture; the logs for TensorBoard stand beside."""
    assert head_only.kept == HEAD
    assert [(row["phase"], row["epoch"]) for row in head_only.epochs] == [(HEAD, 1), (HEAD, 2)]
    for row in head_only.epochs:
        assert all(math.isfinite(row[key]) for key in ("loss", "accuracy", "val_loss", "val_accuracy"))
    with Image.open(io.BytesIO((head_only.run / "training_curves.png").read_bytes())) as picture:
        assert picture.format == "PNG"
    assert list((head_only.run / "tensorboard" / HEAD).rglob("events.out.tfevents.*"))


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
    """No image goes through the trunk in the Trainer."""
    assert fine_tuned.embedded.report.trunk.layer == "conv4_block6_out"
    assert fine_tuned.trunk_computed == 0


def test_what_was_pruned_meanwhile_is_computed_again(train, fine_tuned, val_examples, tmp_path):
    """The Embedder's artifact is older than the store: the Trainer fills it, and trains the same model."""

    def prune(embedded):
        kept = EmbeddingStore(embedded.store, embedded.report.trunk)
        assert kept.prune([]) == 16

    again = train(
        tmp_path,
        between=prune,
        head_epochs=1,
        head_learning_rate=1e-7,
        fine_tune_epochs=4,
        fine_tune_learning_rate=1e-3,
    )
    assert again.trunk_computed == 16
    expected = predict(fine_tuned.model, val_examples)
    np.testing.assert_allclose(predict(again.model, val_examples), expected, atol=1e-3)


def test_without_a_budget_phase_2_reads_the_images(train, fine_tuned, val_examples, tmp_path, caplog):
    """Nothing is kept, the log and the report say why; the model is the same but for the rounding."""
    caplog.set_level("INFO", logger="absl")
    poor = train(tmp_path, trunk_gb=0.0, **PHASE_2_LEARNS)
    assert poor.embedded.report.trunk is None
    assert "the budget is 0.0 GB: each epoch runs the frozen part again" in poor.embedded.report.note
    assert poor.embedded.report.note in caplog.text
    assert [row["phase"] for row in poor.epochs] == [row["phase"] for row in fine_tuned.epochs]


@pytest.mark.parametrize("kind", ["head_only", "fine_tuned"])
def test_a_server_warms_an_exported_model_up_with_images_of_the_test_split(request, examples, kind):
    """One, a batch, and one as an example; and nothing of the images that were trained on."""
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
    assert signatures.read_embedding_kind(head_only.model) == head_only.embedded.report.kind.to_json()
    embedded = read_records(head_only.run.parent / "embeddings" / "Split-val")
    answer = tf.saved_model.load(head_only.model).signatures["embedded_examples"](examples=embedded)
    np.testing.assert_allclose(answer["probabilities"], predict(head_only.model, val_examples), atol=1e-5)
    assert set(answer) == {"probabilities", "label", "classes"}


def test_a_fine_tuned_model_takes_no_embeddings(fine_tuned):
    """They are those of another base."""
    assert signatures.read_embedding_kind(fine_tuned.model) == ""
    assert set(tf.saved_model.load(fine_tuned.model).signatures) == {
        "serving_default",
        "examples",
        "transform_features",
    }


def test_the_export_holds_no_optimizer(fine_tuned, small_base):
    """Adam's slots would triple the file: no more floats than the network has."""
    [data] = (fine_tuned.run.parent / "model/variables").glob("variables.data-*")
    head = (2048 + 2048) + 2048 * 8 + 8 + 8 * 2 + 2
    assert data.stat().st_size < 4 * (small_base(32, "random").count_params() + head) * 1.2


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
    assert [path.name for path in augmented.run.iterdir() if path.is_dir()] == ["tensorboard"]


@pytest.mark.parametrize("augmentation", [OFF, AUGMENTED], ids=["plain", "augmented"])
def test_resized_images_on_disk_change_nothing(
    large_examples, transform_graph, small_base, frozen_like, tmp_path, augmentation
):
    """The same history and weights to the bit after both phases, with them and without."""
    settings = dataclasses.replace(SETTINGS, fine_tune_epochs=2, augmentation=augmentation)
    fn_args = FnArgs(
        train_files=[str(large_examples / "Split-train" / "*")], eval_files=[str(large_examples / "Split-val" / "*")]
    )
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()

    def run(cache):
        keras.utils.set_random_seed(0)
        inputs = Inputs(trainer.read_images(fn_args, transform, settings, cache), None, None)
        frozen = frozen_like(small_base(32, "random"))
        trained = training.train(frozen, inputs, settings, choose_devices("float32"), str(tmp_path / "logs"))
        return trained.history, frozen.network.get_weights(), trained.head.get_weights()

    cache = tmp_path / "cache"
    cache.mkdir()
    np.testing.assert_equal(run(str(cache)), run(None))
    assert {path.name.split(".")[0] for path in cache.iterdir()} == {"train", "val"}
