"""The head on embeddings, then the upper part of the base with it; the better of the two is exported."""

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
from sklearn.utils.class_weight import compute_class_weight
from tfx.components.trainer.fn_args_utils import FnArgs

from components import model, pixels, progress, trainer
from components.trainer import FINE_TUNE, HEAD, Images, Score, Settings

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
    batch_size=4,
    early_stopping_patience=3,
    label_smoothing=0.0,
    class_weights="none",
    augmentation=OFF,
    seed=0,
    cache_key={},
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory, make_images, serialize):
    """TFRecords of 10 training and 6 validation images, half cats, half dogs."""
    folder = tmp_path_factory.mktemp("examples")
    for split, count, first in (("train", 5, 0), ("val", 3, 5)):
        paths = {label: make_images(folder / "images", label, count, first=first) for label in SETTINGS.classes}
        with tf.io.TFRecordWriter(str(folder / f"{split}-0")) as writer:
            for pair in zip(*paths.values(), strict=True):
                for label, path in zip(paths, pair, strict=True):
                    writer.write(serialize(path.read_bytes(), label))
    return folder


@pytest.fixture(scope="module")
def large_examples(tmp_path_factory, serialize):
    """As many, of noise: files of 12 kB, which resized take 3 kB."""
    folder = tmp_path_factory.mktemp("large_examples")
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 6)):
        with tf.io.TFRecordWriter(str(folder / f"{split}-0")) as writer:
            for index in range(count):
                file = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
                writer.write(serialize(file.getvalue(), SETTINGS.classes[index % 2]))
    return folder


def build_small_base(image_size, weights):
    """Stands in for ResNet50, which takes half a minute to trace and to export: one convolution and BatchNorm."""
    return keras.Sequential(
        [
            keras.Input([image_size, image_size, 3]),
            keras.layers.Conv2D(2048, 8, strides=32, name="conv5_block3_3_conv"),
            keras.layers.BatchNormalization(name="conv5_block3_3_bn"),
            keras.layers.ReLU(),
        ]
    )


@pytest.fixture(scope="module")
def train(examples, transform_graph):
    """Returns a function that runs `run_fn` with other settings; gives the folders it wrote."""

    def run(out, data=examples, **changes):
        fn_args = FnArgs(
            train_files=[str(data / "train-*")],
            eval_files=[str(data / "val-*")],
            transform_output=transform_graph,
            serving_model_dir=str(out / "model"),
            model_run_dir=str(out / "run"),
            custom_config=dataclasses.asdict(dataclasses.replace(SETTINGS, **changes)),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "build_base", build_small_base)
            trainer.run_fn(fn_args)
        history = json.loads((out / "run/history.json").read_text())
        return types.SimpleNamespace(model=str(out / "model"), run=out / "run", **history)

    return run


@pytest.fixture(scope="module")
def val_examples(examples):
    """The validation examples, serialized."""
    return tf.constant([r.numpy() for r in tf.data.TFRecordDataset(str(examples / "val-0"))])


def predict(path, examples):
    return tf.saved_model.load(path).signatures["examples"](examples=examples)["probabilities"].numpy()


@pytest.fixture(scope="module")
def head_only(train, tmp_path_factory):
    """A run without phase 2; counts the images that the embedder sees."""
    seen = []
    build = model.build_embedder

    def build_counting(base):
        embedder = build(base)
        forward = embedder.predict_on_batch
        embedder.predict_on_batch = lambda images: (seen.append(len(images)), forward(images))[1]
        return embedder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "build_embedder", build_counting)
        result = train(tmp_path_factory.mktemp("head_only"))
    result.seen = seen
    return result


@pytest.fixture(scope="module")
def phases(examples, transform_graph):
    """The weights before phase 1, after it and after phase 2, and what phase 2 was told to train."""
    keras.utils.set_random_seed(0)
    settings = dataclasses.replace(SETTINGS, fine_tune_epochs=1, fine_tune_from="conv5_block2")
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()
    images = pixels.to_pixels(pixels.read_levels([str(examples / "train-*")], transform, 4))
    base = model.build_base(32, "random")
    model.freeze_below(base, settings.fine_tune_from)
    rng = np.random.default_rng(0)
    base.set_weights([w if w.ndim == 4 else rng.uniform(0.5, 1, w.shape) for w in base.get_weights()])
    embedder = model.build_embedder(base)
    stages = [copy_weights(base)]
    embedded = trainer.embed(embedder, images)
    head = model.build_head(embedded[0], [8], 2)
    untrained = head.get_weights()
    trainer.train_phase(HEAD, head, embedded, embedded, embedded[1], settings, str(examples / "logs"))
    stages.append(copy_weights(base))
    trained = head.get_weights()
    network = model.assemble(embedder, head)
    trainer.train_phase(FINE_TUNE, network, (images,), (images,), embedded[1], settings, str(examples / "logs"))
    stages.append(copy_weights(base))
    return types.SimpleNamespace(base=stages, head=[untrained, trained, head.get_weights()])


def copy_weights(network):
    """Layer name to its weights."""
    return {layer.name: [np.copy(w) for w in layer.get_weights()] for layer in network.layers if layer.weights}


def find_changed(before, after):
    return {name for name in before if not all(map(np.array_equal, before[name], after[name]))}


def test_phase_1_trains_the_head_and_leaves_the_base_bit_equal(phases):
    """The base is frozen: convolutions, BatchNorm and all."""
    assert find_changed(phases.base[0], phases.base[1]) == set()
    assert not all(map(np.array_equal, phases.head[0], phases.head[1]))


def test_phase_2_trains_the_convolutions_from_the_block_on_and_no_other_weight(phases):
    """Those of conv5_block2 and conv5_block3 change, all below and every BatchNorm stay bit-equal."""
    expected = {f"conv5_block{block}_{i}_conv" for block in (2, 3) for i in (1, 2, 3)}
    assert find_changed(phases.base[1], phases.base[2]) == expected


def test_phase_2_trains_the_head_with_the_base(phases):
    """Both of its layers; the mean and variance of the embeddings stay baked in."""
    changed = [not np.array_equal(a, b) for a, b in zip(phases.head[1], phases.head[2], strict=True)]
    assert any(changed[-4:])
    assert not any(changed[:-4])


class FakeEmbedder:
    """Gives each image's mean as its embedding, and counts."""

    def __init__(self):
        self.batches = []

    def predict_on_batch(self, images):
        self.batches.append(len(images))
        return np.asarray(images).reshape(len(images), -1).mean(axis=1, keepdims=True)


def test_embed_runs_the_base_once_over_each_image_in_order():
    """Batch by batch, the last one smaller; embeddings and labels stay side by side."""
    images = np.arange(10, dtype=np.float32)[:, None, None, None] * np.ones((10, 2, 2, 3), np.float32)
    embedder = FakeEmbedder()
    embeddings, labels = trainer.embed(embedder, tf.data.Dataset.from_tensor_slices((images, np.arange(10))).batch(4))
    assert embedder.batches == [4, 4, 2]
    np.testing.assert_array_equal(embeddings, np.arange(10, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(labels, np.arange(10))


def test_the_base_runs_once_an_image_however_many_epochs_the_head_is_trained(head_only):
    """10 training and 6 validation images; two epochs of phase 1 are on the embeddings."""
    assert sum(head_only.seen) == 16
    assert len(head_only.epochs) == 2


def test_early_stopping_restores_the_best_epoch(tmp_path):
    """Labels that are the opposite in `val`: every step makes it worse, so the first epoch is kept."""
    random = np.random.default_rng(0)
    embeddings = random.normal(0, 1, (32, 2048)).astype(np.float32)
    labels = np.arange(32) % 2
    settings = dataclasses.replace(SETTINGS, head_epochs=20, head_learning_rate=1e-2, early_stopping_patience=2)
    keras.utils.set_random_seed(0)
    head = model.build_head(embeddings, [8], 2)
    val = (embeddings, 1 - labels)
    history = trainer.train_phase(HEAD, head, (embeddings, labels), val, labels, settings, str(tmp_path))
    losses = [row["val_loss"] for row in history]
    assert len(history) == losses.index(min(losses)) + 1 + 2 < 20
    assert trainer.score(head, *val).loss == pytest.approx(min(losses), rel=1e-4)
    assert losses[-1] > min(losses) * 1.01


def test_a_score_is_worse_by_accuracy_and_then_by_loss():
    """Equal scores are not worse: the fine-tuned network is kept."""
    assert Score(0.8, 0.1).is_worse_than(Score(0.9, 5.0))
    assert not Score(0.9, 5.0).is_worse_than(Score(0.8, 0.1))
    assert Score(0.9, 0.3).is_worse_than(Score(0.9, 0.2))
    assert not Score(0.9, 0.2).is_worse_than(Score(0.9, 0.3))
    assert not Score(0.9, 0.2).is_worse_than(Score(0.9, 0.2))


@pytest.mark.parametrize("accuracy", [0.5, 0.9])
def test_a_score_that_diverged_is_worse_whatever_its_accuracy(accuracy):
    """NaN everywhere predicts the first class, which may be half of the images; such a network is never exported."""
    assert Score(accuracy, math.nan).is_worse_than(Score(0.5, 0.7))
    assert not Score(0.5, 0.7).is_worse_than(Score(accuracy, math.nan))


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
    """A learning rate of 100 ruins the network: what is exported is the head, as if phase 2 had never been."""
    ruined = train(tmp_path, fine_tune_epochs=1, fine_tune_learning_rate=100.0)
    assert [row["phase"] for row in ruined.epochs] == [HEAD, HEAD, FINE_TUNE]
    assert not ruined.epochs[-1]["val_loss"] < ruined.epochs[1]["val_loss"]
    assert ruined.kept == HEAD
    np.testing.assert_allclose(predict(ruined.model, val_examples), predict(head_only.model, val_examples), atol=1e-5)


def test_a_fine_tuned_model_that_is_better_on_val_is_exported(train, val_examples, tmp_path):
    """The head has learnt next to nothing, fine-tuning has; the model scores on `val` what the history says."""
    better = train(tmp_path, head_epochs=1, head_learning_rate=1e-7, fine_tune_epochs=4, fine_tune_learning_rate=1e-4)
    best = min((row for row in better.epochs if row["phase"] == FINE_TUNE), key=lambda row: row["val_loss"])
    assert better.kept == FINE_TUNE
    assert best["val_loss"] < better.epochs[0]["val_loss"]
    probabilities = predict(better.model, val_examples)
    labels = np.array([0, 1] * 3)
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(best["val_accuracy"])
    assert -np.log(probabilities[range(6), labels]).mean() == pytest.approx(best["val_loss"], rel=1e-3, abs=1e-5)


def test_an_augmented_run_exports_what_it_validated_and_leaves_no_images_behind(
    train, large_examples, tmp_path, caplog
):
    """Neither `val` nor what is exported is augmented; resized images were on disk meanwhile."""
    caplog.set_level("INFO", logger="absl")
    augmented = train(tmp_path, large_examples, augmentation=AUGMENTED)
    best = min(augmented.epochs, key=lambda row: row["val_loss"])
    val = tf.constant([r.numpy() for r in tf.data.TFRecordDataset(str(large_examples / "val-0"))])
    loss = -np.log(predict(augmented.model, val)[range(6), np.array([0, 1] * 3)]).mean()
    assert loss == pytest.approx(best["val_loss"], rel=1e-3, abs=1e-5)
    assert "Resized images are kept on disk" in caplog.text
    assert [path.name for path in augmented.run.iterdir() if path.is_dir()] == ["tensorboard"]


@pytest.mark.parametrize("augmentation", [OFF, AUGMENTED], ids=["plain", "augmented"])
def test_resized_images_on_disk_change_nothing(large_examples, transform_graph, tmp_path, augmentation):
    """The same history and weights to the bit after both phases, with them and without."""
    settings = dataclasses.replace(SETTINGS, fine_tune_epochs=2, augmentation=augmentation)
    fn_args = FnArgs(train_files=[str(large_examples / "train-*")], eval_files=[str(large_examples / "val-*")])
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()

    def run(cache):
        keras.utils.set_random_seed(0)
        images = trainer.read_images(fn_args, transform, settings, cache)
        network, history, _ = trainer.train(build_small_base(32, "random"), images, settings, str(tmp_path / "logs"))
        return history, network.get_weights()

    cache = tmp_path / "cache"
    cache.mkdir()
    np.testing.assert_equal(run(str(cache)), run(None))
    assert {path.name.split(".")[0] for path in cache.iterdir()} == {"train", "val"}


@pytest.fixture
def noise():
    """Batches of 8 noisy images of two classes, as `Images` wants them; what is shuffled is brighter by 50."""
    pixels = np.random.default_rng(0).normal(0, 50, (16, 32, 32, 3)).astype(np.float32)
    labels = np.arange(16) % 2
    plain, bright = (tf.data.Dataset.from_tensor_slices((pixels + p, labels)).batch(8) for p in (0, 50))
    return Images(plain=plain, shuffled=bright, val=plain)


def test_on_augmented_images_phase_1_trains_the_head_alone(noise, tmp_path, caplog):
    """Through the frozen base; mean and variance are those of the embeddings of the images as they are."""
    caplog.set_level("INFO", logger="absl")
    base = build_small_base(32, "random")
    before = [np.copy(w) for w in base.get_weights()]
    settings = dataclasses.replace(SETTINGS, augmentation=AUGMENTED, head_learning_rate=1e-2)
    network, history, kept = trainer.train(base, noise, settings, str(tmp_path))
    assert all(map(np.array_equal, before, base.get_weights()))
    assert kept == HEAD
    assert history[1]["loss"] < history[0]["loss"]
    assert "Images are augmented, so phase 1 runs them through the frozen base in each epoch." in caplog.text
    embeddings, _ = trainer.embed(model.build_embedder(base), noise.plain)
    mean = network.get_layer("head").get_layer("standardize").mean
    np.testing.assert_allclose(np.ravel(mean), embeddings.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_on_augmented_images_phase_2_trains_the_base(noise, tmp_path):
    """It was frozen for phase 1 alone."""
    base = build_small_base(32, "random")
    before = np.copy(base.get_weights()[0])
    settings = dataclasses.replace(
        SETTINGS, augmentation=AUGMENTED, head_learning_rate=1e-7, fine_tune_epochs=1, fine_tune_learning_rate=1e-3
    )
    _, history, kept = trainer.train(base, noise, settings, str(tmp_path))
    assert [row["phase"] for row in history] == [HEAD, HEAD, FINE_TUNE]
    assert kept == FINE_TUNE
    assert not np.array_equal(before, base.get_weights()[0])


def test_balanced_weights_are_those_of_scikit_learn():
    """Number of images by number of classes and images of the class."""
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert trainer.balance(labels, 3) == pytest.approx(dict(enumerate(expected)))


@pytest.mark.parametrize("as_dataset", [False, True], ids=["embeddings", "dataset"])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_class_weights_weigh_training_and_not_validation(tmp_path, as_dataset, class_weights):
    """Six cats and two dogs, in either phase: a cat counts 2/3, a dog 2; on `val` each counts 1."""
    embeddings = np.random.default_rng(0).normal(0, 1, (8, 2048)).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    settings = dataclasses.replace(
        SETTINGS, class_weights=class_weights, batch_size=8, head_epochs=1, head_learning_rate=1e-12
    )
    head = model.build_head(embeddings, [], 2)
    losses = -np.log(np.asarray(head(embeddings))[range(8), labels])
    data = (embeddings, labels)
    data = (tf.data.Dataset.from_tensor_slices(data).batch(8),) if as_dataset else data
    (row,) = trainer.train_phase(HEAD, head, data, data, labels, settings, str(tmp_path))
    weights = np.where(labels == 0, 2 / 3, 2) if class_weights == "balanced" else np.ones(8)
    assert row["loss"] == pytest.approx((weights * losses).mean(), rel=1e-3)
    assert row["val_loss"] == pytest.approx(losses.mean(), rel=1e-3)
    assert abs((weights * losses).mean() / losses.mean() - 1) > 0.01 or class_weights == "none"


def test_smoothing_and_dropout_reach_the_training(noise, tmp_path):
    """Either changes the losses."""

    def train(**changes):
        keras.utils.set_random_seed(0)
        settings = dataclasses.replace(SETTINGS, **changes)
        _, history, _ = trainer.train(build_small_base(32, "random"), noise, settings, str(tmp_path))
        return history[-1]["loss"]

    assert len({train(), train(label_smoothing=0.3), train(dropout=0.3)}) == 3


def test_a_run_says_how_far_it_is(noise, tmp_path):
    """Images while the base runs; batches of all epochs and the figures of each in both phases."""
    settings = dataclasses.replace(SETTINGS, batch_size=8, fine_tune_epochs=1)
    events = []
    with progress.listen(events.append):
        _, history, _ = trainer.train(build_small_base(32, "random"), noise, settings, str(tmp_path))

    def total(step):
        return sum(e.done for e in events if e.step == step), {e.total for e in events if e.step == step and e.done}

    assert total("images embedded") == (32, {0})
    assert total("head steps") == (4, {4})
    assert total("fine-tuning steps") == (2, {2})
    notes = [e.note for e in events if e.note]
    assert [note.split(":")[0] for note in notes] == [
        "head 1/2",
        "head 2/2",
        "fine-tuning 1/1",
    ]
    last = history[-1]
    assert notes[-1].endswith(
        f"loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}; "
        f"val loss {last['val_loss']:.3f}, accuracy {last['val_accuracy']:.3f}"
    )
