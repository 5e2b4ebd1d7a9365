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
from tfx.components.trainer.fn_args_utils import FnArgs

from components import model, trainer
from components.trainer import FINE_TUNE, HEAD, Score, Settings

SETTINGS = Settings(
    classes=["cat", "dog"],
    image_size=32,
    weights="random",
    head_units=[8],
    head_epochs=2,
    head_learning_rate=1e-3,
    fine_tune_epochs=0,
    fine_tune_learning_rate=1e-4,
    fine_tune_from="conv5_block3",
    batch_size=4,
    early_stopping_patience=3,
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

    def run(out, **changes):
        fn_args = FnArgs(
            train_files=[str(examples / "train-*")],
            eval_files=[str(examples / "val-*")],
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
    pixels = trainer.read_pixels([str(examples / "train-*")], transform, 4)
    base = model.build_base(32, "random")
    model.freeze_below(base, settings.fine_tune_from)
    rng = np.random.default_rng(0)
    base.set_weights([w if w.ndim == 4 else rng.uniform(0.5, 1, w.shape) for w in base.get_weights()])
    embedder = model.build_embedder(base)
    stages = [copy_weights(base)]
    embedded = trainer.embed(embedder, pixels)
    head = model.build_head(embedded[0], [8], 2)
    untrained = head.get_weights()
    trainer.train_head(head, embedded, embedded, settings, str(examples / "logs"))
    stages.append(copy_weights(base))
    trained = head.get_weights()
    network = model.assemble(embedder, head)
    trainer.fine_tune(network, pixels, pixels, settings, str(examples / "logs"))
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


def test_pixels_are_read_through_the_transform_graph(examples, transform_graph, image_size):
    """Every image of every file once, in the order on disk, with its label index."""
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()
    batches = list(trainer.read_pixels([str(examples / "train-*"), str(examples / "val-*")], transform, 6))
    assert [len(labels) for _, labels in batches] == [6, 6, 4]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), [0, 1] * 8)
    raw = [r.numpy() for name in ("train-0", "val-0") for r in tf.data.TFRecordDataset(str(examples / name))]
    images = tf.io.parse_example(raw, {"image": tf.io.FixedLenFeature([1], tf.string)})["image"]
    expected = transform({"image": images, "label": tf.constant([["cat"]] * 16)})["pixels"]
    np.testing.assert_array_equal(np.concatenate([pixels for pixels, _ in batches]), expected)


def test_shuffled_pixels_are_the_same_images_in_another_order_each_epoch(examples, transform_graph):
    """With a seed, so that a run can be repeated."""
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()

    def read_epochs():
        dataset = trainer.read_pixels([str(examples / "train-*")], transform, 4, shuffle_seed=3)
        return [np.concatenate([p for p, _ in dataset]).sum(axis=(1, 2, 3)).tolist() for _ in range(2)]

    first, second = read_epochs()
    assert first != second
    assert sorted(first) == sorted(second)
    assert read_epochs() == [first, second]


def test_early_stopping_restores_the_best_epoch(tmp_path):
    """Labels that are the opposite in `val`: every step makes it worse, so the first epoch is kept."""
    random = np.random.default_rng(0)
    embeddings = random.normal(0, 1, (32, 2048)).astype(np.float32)
    labels = np.arange(32) % 2
    settings = dataclasses.replace(SETTINGS, head_epochs=20, head_learning_rate=1e-2, early_stopping_patience=2)
    keras.utils.set_random_seed(0)
    head = model.build_head(embeddings, [8], 2)
    val = (embeddings, 1 - labels)
    history = trainer.train_head(head, (embeddings, labels), val, settings, str(tmp_path))
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
