"""One call of Keras' fit: the layers that it trains, the epoch that it keeps, class weights and loss scaling."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from sklearn.utils.class_weight import compute_class_weight
from training_settings import SETTINGS, change

from components.devices import Device
from components.embedder.artifact import Embedded
from components.network import resnet
from components.trainer import training
from components.trainer.devices import Devices
from components.trainer.phase import FINE_TUNE, HEAD, balance, train_phase
from components.trainer.scoring import score
from components.transform import pixels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training_files(tmp_path_factory, make_images, serialize):
    """A TFRecord of 10 images, half cats, half dogs."""
    folder = tmp_path_factory.mktemp("examples")
    paths = {label: make_images(folder / "images", label, 5) for label in SETTINGS.classes}
    with tf.io.TFRecordWriter(str(folder / "train-0")) as writer:
        for pair in zip(*paths.values(), strict=True):
            for label, path in zip(paths, pair, strict=True):
                writer.write(serialize(path.read_bytes(), label))
    return [str(folder / "train-0")]


@pytest.fixture(scope="module")
def phases(training_files, transform_graph, devices, tmp_path_factory):
    """The weights before phase 1, after it and after phase 2, and what phase 2 was told to train."""
    logs = str(tmp_path_factory.mktemp("logs"))
    settings = change(SETTINGS, fine_tune_epochs=1, fine_tune_from="conv5_block2")
    transform = tft.TFTransformOutput(transform_graph).transform_features_layer()
    images = pixels.to_pixels(pixels.read_uint8(training_files, transform, 4))
    base = resnet.build_base(32, "random")
    resnet.freeze_below(base, settings.fine_tune_from)
    rng = np.random.default_rng(0)
    base.set_weights([w if w.ndim == 4 else rng.uniform(0.5, 1, w.shape) for w in base.get_weights()])
    embedder = resnet.build_embedder(base)
    stages = [copy_weights(base)]
    embeddings, labels = training.embed(embedder, images)
    head = resnet.build_head(embeddings, [8], 2)
    untrained = head.get_weights()
    batches = training.batch_embeddings(Embedded(embeddings, labels, []), 4)
    train_phase(HEAD, head, batches, batches, labels, settings, devices, logs)
    stages.append(copy_weights(base))
    trained = head.get_weights()
    network = resnet.assemble(embedder, head)
    train_phase(FINE_TUNE, network, images, images, labels, settings, devices, logs)
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
    """The convolutions of conv5_block2 and conv5_block3 change; all layers below and every BatchNorm stay bit-equal."""
    expected = {f"conv5_block{block}_{i}_conv" for block in (2, 3) for i in (1, 2, 3)}
    assert find_changed(phases.base[1], phases.base[2]) == expected


def test_phase_2_trains_the_head_with_the_base(phases):
    """Both of its layers; the mean and variance of the embeddings stay baked in."""
    changed = [not np.array_equal(a, b) for a, b in zip(phases.head[1], phases.head[2], strict=True)]
    assert any(changed[-4:])
    assert not any(changed[:-4])


def test_early_stopping_restores_the_best_epoch(tmp_path, devices):
    """Labels that are the opposite in `val`: every step makes it worse, so the first epoch is kept."""
    random = np.random.default_rng(0)
    embeddings = random.normal(0, 1, (32, 2048)).astype(np.float32)
    labels = np.arange(32) % 2
    settings = change(SETTINGS, head_epochs=20, head_learning_rate=1e-2, early_stopping_patience=2)
    head = resnet.build_head(embeddings, [8], 2)
    train, val = (training.batch_embeddings(Embedded(embeddings, y, []), 8) for y in (labels, 1 - labels))
    history = train_phase(HEAD, head, train, val, labels, settings, devices, str(tmp_path))
    losses = [row.val_loss for row in history]
    assert len(history) == losses.index(min(losses)) + 1 + 2 < 20
    assert score(head, val).score.loss == pytest.approx(min(losses), rel=1e-4)
    assert [row.val_loss for row in history if row.best] == [min(losses)]
    assert losses[-1] > min(losses) * 1.01


def test_balanced_weights_are_those_of_scikit_learn():
    """Number of images by number of classes and images of the class."""
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balance(labels, 3) == pytest.approx(dict(enumerate(expected)))


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_class_weights_weigh_training_and_not_validation(tmp_path, devices, class_weights):
    """Six cats and two dogs: a cat counts 2/3, a dog 2; on `val` each counts 1."""
    embeddings = np.random.default_rng(0).normal(0, 1, (8, 2048)).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    settings = change(SETTINGS, class_weights=class_weights, batch_size=8, head_epochs=1, head_learning_rate=1e-12)
    head = resnet.build_head(embeddings, [], 2)
    losses = -np.log(np.asarray(head(embeddings))[range(8), labels])
    data = training.batch_embeddings(Embedded(embeddings, labels, []), 8)
    (row,) = train_phase(HEAD, head, data, data, labels, settings, devices, str(tmp_path))
    weights = np.where(labels == 0, 2 / 3, 2) if class_weights == "balanced" else np.ones(8)
    assert row.loss == pytest.approx((weights * losses).mean(), rel=1e-3)
    assert row.val_loss == pytest.approx(losses.mean(), rel=1e-3)
    assert abs((weights * losses).mean() / losses.mean() - 1) > 0.01 or class_weights == "none"


def train_below_a_faint_head(embedded_noise, small_base, devices, tmp_path):
    """Trains the convolution below a frozen head whose gradients are near 1e-9; returns the change of its kernel."""
    data = embedded_noise[0]
    base = small_base(32, "random")
    resnet.freeze_below(base, "conv5_block3")
    head = resnet.build_head(data.embedded.embeddings, [], 2)
    *constants, kernel, bias = head.get_weights()
    head.set_weights([*constants, kernel * 1e-6, bias])
    head.trainable = False
    layer = base.get_layer("conv5_block3_3_conv")
    network = resnet.assemble_tail(base, "conv4_block6_out", head, devices.precision)
    before = np.copy(layer.get_weights()[0])
    settings = change(SETTINGS, fine_tune_epochs=1)
    train_phase(FINE_TUNE, network, data.below, data.below, data.embedded.labels, settings, devices, str(tmp_path))
    return (layer.get_weights()[0] - before).ravel()


def test_float16_trains_on_gradients_that_float16_rounds_to_0(embedded_noise, small_base, devices, tmp_path):
    """With loss scaling the kernel moves as it does in float32. Without, 99 of 100 of its weights stay."""
    expected = train_below_a_faint_head(embedded_noise, small_base, devices, tmp_path)
    float16 = Devices("float16", Device(), tf.distribute.get_strategy())
    moved = train_below_a_faint_head(embedded_noise, small_base, float16, tmp_path)
    assert np.mean(moved != 0) == pytest.approx(np.mean(expected != 0), abs=0.02)
    assert np.corrcoef(moved, expected)[0, 1] > 0.95
