"""Two-phase training: the inputs of each phase, and the phase that is kept."""

import itertools
import math
import pathlib
import subprocess
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from small_networks import to_network
from training_settings import AUGMENTED, SETTINGS, change

from components import progress
from components.devices import Device
from components.embedder.artifact import Embedded
from components.network import heads, resnet
from components.records.history import Score
from components.trainer import scoring, training
from components.trainer.callbacks import ReportProgress
from components.trainer.devices import Devices
from components.trainer.phase import FINE_TUNE, HEAD
from components.trainer.training import Images, Inputs
from serving.export.signatures import export_saved_model

pytestmark = pytest.mark.slow

PHASE_2_LEARNS = {"fine_tune_epochs": 4, "head_learning_rate": 1e-7, "fine_tune_learning_rate": 1e-4}


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
    embeddings, labels = training.embed(embedder, tf.data.Dataset.from_tensor_slices((images, np.arange(10))).batch(4))
    assert embedder.batches == [4, 4, 2]
    np.testing.assert_array_equal(embeddings, np.arange(10, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(labels, np.arange(10))


def make_score(loss, accuracy):
    return Score(loss=loss, accuracy=accuracy)


def test_a_score_is_worse_by_loss_and_then_by_accuracy():
    """Equal scores are not worse: the fine-tuned network is kept."""
    assert training.is_worse(make_score(0.3, 0.9), make_score(0.2, 0.8))
    assert not training.is_worse(make_score(0.2, 0.8), make_score(0.3, 0.9))
    assert training.is_worse(make_score(0.2, 0.8), make_score(0.2, 0.9))
    assert not training.is_worse(make_score(0.2, 0.9), make_score(0.2, 0.8))
    assert not training.is_worse(make_score(0.2, 0.9), make_score(0.2, 0.9))


@pytest.mark.parametrize("accuracy", [0.5, 0.9])
def test_a_score_that_diverged_is_worse_whatever_its_accuracy(accuracy):
    """NaN everywhere predicts the first class, which may be half of the images; such a network is never exported."""
    assert training.is_worse(make_score(math.nan, accuracy), make_score(0.7, 0.5))
    assert not training.is_worse(make_score(0.7, 0.5), make_score(math.nan, accuracy))


@pytest.fixture
def noise():
    """Batches of 8 noisy images of two classes, as augmented ones are; what is shuffled is brighter by 50."""
    pixels = np.random.default_rng(0).normal(0, 50, (16, 32, 32, 3)).astype(np.float32)
    labels = np.arange(16) % 2
    plain, bright = (tf.data.Dataset.from_tensor_slices((pixels + p, labels)).batch(8) for p in (0, 50))
    return Inputs(Images(plain=plain, shuffled=bright, val=plain), train=None, val=None)


def test_on_augmented_images_phase_1_trains_the_head_alone(noise, small_base, frozen_like, devices, tmp_path, caplog):
    """Through the frozen base; mean and variance are those of the embeddings of the images as they are."""
    caplog.set_level("INFO", logger="absl")
    base = small_base(32, "random")
    before = [np.copy(w) for w in base.get_weights()]
    settings = change(SETTINGS, augmentation=AUGMENTED, head_learning_rate=1e-2)
    trained = training.train(frozen_like(base), noise, settings, devices, str(tmp_path))
    assert all(map(np.array_equal, before, base.get_weights()))
    assert trained.kept == HEAD
    assert trained.history[1].loss < trained.history[0].loss
    assert "Images are augmented, so phase 1 runs them through the frozen base in each epoch." in caplog.text
    embeddings, _ = training.embed(resnet.build_embedder(base), noise.images.plain)
    mean = trained.head.get_layer("standardize").mean
    np.testing.assert_allclose(np.ravel(mean), embeddings.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_on_augmented_images_phase_2_trains_the_base(noise, small_base, frozen_like, devices, tmp_path):
    """The base was frozen only for phase 1."""
    base = small_base(32, "random")
    before = np.copy(base.get_layer("conv5_block3_3_conv").get_weights()[0])
    settings = change(
        SETTINGS, augmentation=AUGMENTED, head_learning_rate=1e-7, fine_tune_epochs=1, fine_tune_learning_rate=1e-4
    )
    trained = training.train(frozen_like(base), noise, settings, devices, str(tmp_path))
    assert [row.phase for row in trained.history] == [HEAD, HEAD, FINE_TUNE]
    assert trained.kept == FINE_TUNE
    assert not np.array_equal(before, base.get_layer("conv5_block3_3_conv").get_weights()[0])


def test_the_weights_file_is_not_read_again_to_train(noise, small_base, frozen_like, devices, tmp_path, monkeypatch):
    """Both phases train the base in memory; a file in a bucket would be fetched once a phase."""
    built = []
    monkeypatch.setattr(resnet, "build_base", lambda size, weights: built.append(weights) or small_base(size, weights))
    settings = change(SETTINGS, weights="gs://bucket/notop.h5", augmentation=AUGMENTED, fine_tune_epochs=1)
    training.train(frozen_like(small_base(32, "random", seed=3)), noise, settings, devices, str(tmp_path))
    assert not built


@pytest.fixture(scope="module")
def live(small_base, transform_graph, tmp_path_factory):
    """A SavedModel of cats and dogs with a hidden layer of 8, and the weights of its head."""
    embeddings = np.random.default_rng(0).normal(0, 1, (8, 2048)).astype(np.float32)
    head = resnet.build_head(embeddings, [8], 2, seed=1)
    network = resnet.assemble(resnet.build_embedder(small_base(32, "random")), head)
    path = str(tmp_path_factory.mktemp("live"))
    export_saved_model(to_network(network), tft.TFTransformOutput(transform_graph), SETTINGS.classes, path)
    return types.SimpleNamespace(path=path, weights=head.get_weights())


def start_head(path, **changes):
    """The weights of a head before its training, cold and then warm."""
    embeddings = np.random.default_rng(0).normal(0, 1, (8, 2048)).astype(np.float32)
    settings = [change(SETTINGS, live=start, **changes) for start in ("", path)]
    heads = [training.build_head(embeddings, one.head_units, one) for one in settings]
    return [head.get_weights() for head in heads]


def test_a_warm_start_is_from_the_head_of_the_live_model(live, caplog):
    """All of its weights; without one, they are random. The log says so."""
    caplog.set_level("INFO", logger="absl")
    cold, warm = start_head(live.path)
    assert all(map(np.array_equal, warm, live.weights))
    assert not np.array_equal(cold[0], live.weights[0])
    assert f"Warm start from {live.path}: yes" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"head_units": [9]},
        {"head_units": [8, 8]},
        {"head_units": []},
        {"classes": ["dog", "cat"]},
        {"classes": ["cat", "wolf"]},
        {"classes": ["cat", "dog", "wolf"]},
    ],
    ids=str,
)
def test_a_head_of_another_shape_or_of_other_classes_starts_cold(live, changes, caplog):
    """As without a live model, and the log says so; the order of the classes counts, for that of the outputs does."""
    caplog.set_level("INFO", logger="absl")
    cold, warm = start_head(live.path, **changes)
    assert all(map(np.array_equal, warm, cold))
    assert f"Warm start from {live.path}: no, its head or its classes are others" in caplog.text


def test_a_model_that_graft_has_not_pushed_starts_nothing(tmp_path):
    """Such a model has no class list and other variable names."""
    foreign = tf.Module()
    foreign.kernel = tf.Variable([1.0])
    tf.saved_model.save(foreign, str(tmp_path))
    cold, warm = start_head(str(tmp_path))
    assert all(map(np.array_equal, warm, cold))


def test_smoothing_and_dropout_reach_the_training(noise, small_base, frozen_like, devices, tmp_path):
    """Label smoothing and dropout each change the losses."""

    def train(**changes):
        settings = change(SETTINGS, **changes)
        frozen = frozen_like(small_base(32, "random"))
        return training.train(frozen, noise, settings, devices, str(tmp_path)).history[-1].loss

    assert len({train(), train(label_smoothing=0.3), train(dropout=0.3)}) == 3


def test_a_run_says_how_far_it_is(noise, small_base, frozen_like, devices, tmp_path):
    """Images while the base runs; batches of all epochs and the figures of each in both phases."""
    settings = change(SETTINGS, batch_size=8, fine_tune_epochs=1)
    events = []
    with progress.listen(events.append):
        frozen = frozen_like(small_base(32, "random"))
        history = training.train(frozen, noise, settings, devices, str(tmp_path)).history

    def total(step):
        return sum(e.done for e in events if e.step == step), {e.total for e in events if e.step == step and e.done}

    assert total("images embedded") == (16, {0})
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
        f"loss {last.loss:.3f}, accuracy {last.accuracy:.3f}; "
        f"val loss {last.val_loss:.3f}, accuracy {last.val_accuracy:.3f}"
    )


def fine_tune(noise, small_base, frozen_like, devices, tmp_path, with_features, **changes):
    """Both phases on embeddings, and phase 2 from features or from the images."""
    train_noise, val_noise = noise
    images = Images(plain=train_noise.images, shuffled=train_noise.images, val=val_noise.images)
    features = (train_noise.below, val_noise.below) if with_features else (None, None)
    inputs = Inputs(images, train_noise.embedded, val_noise.embedded, *features)
    settings = change(SETTINGS, **PHASE_2_LEARNS | changes)
    base = small_base(32, "random")
    trained = training.train(frozen_like(base, "conv4_block6_out"), inputs, settings, devices, str(tmp_path))
    return base, trained


def test_phase_2_from_features_trains_what_phase_2_from_the_images_trains(
    embedded_noise, small_base, frozen_like, devices, tmp_path
):
    """The same batches: the same weights, but for the rounding of what is kept to bfloat16."""
    common = (embedded_noise, small_base, frozen_like, devices, tmp_path)
    with_features, trained = fine_tune(*common, with_features=True)
    without, expected = fine_tune(*common, with_features=False)
    start = small_base(32, "random").get_weights()
    moved = [np.abs(b - a).mean() for a, b in zip(start, without.get_weights(), strict=True)]
    apart = [np.abs(b - a).mean() for a, b in zip(with_features.get_weights(), without.get_weights(), strict=True)]
    assert [m > 0 for m in moved] == [False, False, True, True, False, False, False, False]
    assert max(apart) < 0.1 * max(moved)
    assert trained.history[-1].loss == pytest.approx(expected.history[-1].loss, rel=1e-2)


def test_phases_and_epochs_trace_once(embedded_noise, small_base, frozen_like, devices, tmp_path, monkeypatch):
    """A step is traced once for all epochs, whatever the size of the last batch."""
    traced = []
    compile_for_training = resnet.compile_for_training

    def count(name, step):
        return lambda *arguments: (traced.append(name), step(*arguments))[1]

    def record(network, *arguments):
        compile_for_training(network, *arguments)
        for name in ("train_step", "test_step"):  # Python runs them only while they are traced
            setattr(network, name, count(f"{name} of {network.name}", getattr(network, name)))

    monkeypatch.setattr(resnet, "compile_for_training", record)
    monkeypatch.setattr(scoring, "measure_batch", count("score", scoring.measure_batch))
    fine_tune(embedded_noise, small_base, frozen_like, devices, tmp_path, True, head_epochs=3, fine_tune_epochs=3)
    steps = [f"{step} of {network}" for step in ("train_step", "test_step") for network in ("head", "tail_and_head")]
    # Each phase is scored by a step of its own, in float32, the precision of the export.
    assert sorted(traced) == sorted([*steps, "score", "score"])


def test_a_fine_tuned_base_is_scored_and_left_in_float32(embedded_noise, small_base, frozen_like, tmp_path):
    """Phase 2 in bfloat16 moves the float32 weights of the network that will be exported."""
    devices = Devices("bfloat16", Device(), tf.distribute.get_strategy())
    base, trained = fine_tune(
        embedded_noise, small_base, frozen_like, devices, tmp_path, True, fine_tune_learning_rate=1e-3
    )
    assert trained.kept == FINE_TUNE
    assert {layer.compute_dtype for layer in base.layers} == {"float32"}
    assert not np.array_equal(base.get_weights()[2], small_base(32, "random").get_weights()[2])
    network = resnet.assemble(resnet.build_embedder(base), trained.head)
    for images, _ in embedded_noise[1].images.take(1):
        np.testing.assert_allclose(np.asarray(network(images)).sum(axis=1), 1, atol=1e-5)


OPTIONS = {
    "schedule": {"fine_tune_schedule": "cosine", "fine_tune_warmup": 0.3},
    "clipping": {"fine_tune_clip_norm": 0.01},
    "decay": {"fine_tune_weight_decay": 0.1},
    "average": {"fine_tune_average": 0.9},
}
EVERY_OPTION = {name: value for option in OPTIONS.values() for name, value in option.items()}
LEARNS = {"fine_tune_learning_rate": 1e-3}
BRIEF = {"head_epochs": 1, "fine_tune_epochs": 2}


class Killed(BaseException):
    """Ends a training in the middle, as a signal does."""


def check_that_a_killed_training_ends_the_same(train, monkeypatch):
    """A training that is killed in its second epoch of phase 2 leaves nothing that the next one would start from."""
    base, trained = train()
    progressed, steps = ReportProgress.on_train_batch_end, itertools.count(1)

    def kill(callback, batch, logs=None):
        progressed(callback, batch, logs)
        # Not the optimizer's steps: loss scaling leaves out those with an infinite gradient.
        if callback._step == "fine-tuning" and next(steps) == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ReportProgress, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            train()
    again, retrained = train()
    assert all(map(np.array_equal, base.get_weights(), again.get_weights()))
    assert all(map(np.array_equal, trained.head.get_weights(), retrained.head.get_weights()))
    assert trained.history == retrained.history
    assert trained.kept == FINE_TUNE


@pytest.mark.long
def test_a_killed_training_with_every_option_ends_with_the_same_model(
    embedded_noise, small_base, frozen_like, devices, tmp_path, monkeypatch
):
    """To the bit: phases keep nothing on disk, and a new start counts its steps from 0."""
    common = (embedded_noise, small_base, frozen_like, devices, tmp_path, True)
    check_that_a_killed_training_ends_the_same(
        lambda: fine_tune(*common, **LEARNS, **BRIEF, **EVERY_OPTION), monkeypatch
    )


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_killed_training_with_one_option_ends_with_the_same_model(
    option, precision, embedded_noise, small_base, frozen_like, tmp_path, monkeypatch
):
    """As with all of them, in float16 as well."""
    devices = Devices(precision, Device(), tf.distribute.get_strategy())
    common = (embedded_noise, small_base, frozen_like, devices, tmp_path, True)
    check_that_a_killed_training_ends_the_same(
        lambda: fine_tune(*common, **LEARNS, **BRIEF, **OPTIONS[option]), monkeypatch
    )


def test_the_average_of_the_weights_is_kept_and_the_schedule_counts_the_steps_of_its_phase(
    embedded_noise, small_base, frozen_like, devices, tmp_path, monkeypatch
):
    """The average lags behind the last step, and the history has its loss. A cosine ends with the last step."""
    kernels, rates = [], {"head": [], "fine-tuning": []}
    progressed = ReportProgress.on_train_batch_end

    def record(callback, batch, logs=None):
        progressed(callback, batch, logs)
        kernels.append(np.asarray(callback.model.trainable_variables[0]))
        rates[callback._step].append(float(callback.model.optimizer.learning_rate))

    monkeypatch.setattr(ReportProgress, "on_train_batch_end", record)
    changes = {**LEARNS, "batch_size": 8, "fine_tune_schedule": "cosine", "fine_tune_average": 0.5, "head_epochs": 1}
    base, trained = fine_tune(embedded_noise, small_base, frozen_like, devices, tmp_path, True, **changes)
    np.testing.assert_allclose(rates["head"], PHASE_2_LEARNS["head_learning_rate"], rtol=1e-6)
    after = 0.5e-3 * (1 + np.cos(np.pi * np.arange(1, 13) / 12))  # 4 epochs of 3 steps
    np.testing.assert_allclose(rates["fine-tuning"], after, atol=1e-9)
    kernels = [kernel for kernel in kernels if kernel.ndim == 4]  # of phase 2
    average = kernels[0]
    for kernel in kernels[1:]:
        average = 0.5 * average + 0.5 * kernel
    [best] = [row for row in trained.history if row.best and row.phase == FINE_TUNE]
    assert best.epoch == 4
    np.testing.assert_allclose(base.get_layer("conv5_block3_3_conv").get_weights()[0], average, atol=1e-6)
    assert np.abs(average - kernels[-1]).max() > 1e-5
    assert trained.scores[FINE_TUNE].loss == pytest.approx(best.val_loss, rel=1e-3)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.3, 0.9), (0.2, 0.8), (0.4, 1.0)], 1),
        ([(0.2, 0.9), (0.2, 0.9), (0.2, 0.9)], 0),
        ([(0.2, 0.8), (0.2, 0.9), (0.2, 0.9)], 1),
        ([(math.nan, 0.9), (math.nan, 0.9), (9.0, 0.1)], 2),
    ],
)
def test_auto_keeps_the_head_with_the_lowest_loss_and_of_equal_ones_the_smallest(
    scores, best, devices, tmp_path, monkeypatch
):
    """By loss, then by accuracy, then by size. Every head is said, with a name of its own in progress and logs."""
    names = []

    def train_head(units, train, val, settings, devices, log_dir, name):
        names.append(name)
        scored = scoring.Scored(make_score(*scores[len(names) - 1]), np.zeros([0, 2]), np.zeros(0, np.int64))
        return training.TrainedHead(units, None, [], scored, [])

    monkeypatch.setattr(training, "_train_head", train_head)
    chosen = training.try_heads(None, None, change(SETTINGS, head_units="auto"), devices, str(tmp_path))
    assert [head.units for head in chosen.tried] == [[], [1024], [1024, 1024, 1024, 512]]
    assert [head.kept for head in chosen.tried] == [index == best for index in range(3)]
    assert chosen.units == chosen.tried[best].units
    assert str(chosen.scored.score) == str(make_score(*scores[best]))
    assert names[1:] == ["head with 1 hidden layer (1024)", "head with 4 hidden layers (1024, 1024, 1024, 512)"]


@pytest.mark.long
def test_auto_with_augmented_images_trains_the_chosen_head_on_them(
    noise, small_base, frozen_like, devices, tmp_path, monkeypatch
):
    """The heads are compared on the images as they are; one of them then goes through the base."""
    monkeypatch.setattr(heads, "CANDIDATES", ((), (4,)))
    settings = change(SETTINGS, augmentation=AUGMENTED, head_units="auto", head_epochs=1)
    trained = training.train(frozen_like(small_base(32, "random")), noise, settings, devices, str(tmp_path))
    [kept] = [head for head in trained.tried if head.kept]
    assert [head.units for head in trained.tried] == [[], [4]]
    assert len([layer for layer in trained.head.layers if layer.name.startswith("dense_")]) == len(kept.units)
    assert {row.phase for row in trained.history} == {HEAD}


def test_auto_starts_warm_where_the_live_head_fits(live, monkeypatch, devices, tmp_path, caplog):
    """The live head has one hidden layer of 8; the other heads start cold."""
    caplog.set_level("INFO", logger="absl")
    monkeypatch.setattr(heads, "CANDIDATES", ((), (8,), (8, 8)))
    embeddings = np.random.default_rng(0).normal(0, 1, (8, 2048)).astype(np.float32)
    embedded = Embedded(embeddings, np.arange(8) % 2, [])
    settings = change(SETTINGS, head_units="auto", head_epochs=1, live=live.path)
    training.train(None, Inputs(None, embedded, embedded), settings, devices, str(tmp_path))
    told = [record.getMessage() for record in caplog.records if "Warm start" in record.getMessage()]
    assert ["yes" in text for text in told] == [False, True, False]


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_two_devices_train_one_network(warm_python, tmp_path, precision):
    """MirroredStrategy over two logical CPUs, which takes a process of its own: both phases run, and the loss falls."""
    script = pathlib.Path(__file__).with_name("train_on_two_devices.py")
    subprocess.run([warm_python.program, script, tmp_path, precision], check=True, timeout=300)


@pytest.mark.long
def test_phase_2_with_xla_trains_the_same_model(embedded_noise, small_base, frozen_like, tmp_path):
    """XLA on a CPU, with class weights: the weights are those without XLA, but for rounding."""

    class Compiling(Devices):
        def decide_xla(self, images, epochs):
            return True

    one_device = tf.distribute.get_strategy()
    common = (embedded_noise, small_base, frozen_like)
    changes = {"with_features": True, "class_weights": "balanced", "batch_size": 8, **BRIEF, **LEARNS}
    base, trained = fine_tune(*common, Devices("float32", Device(), one_device), tmp_path, **changes)
    compiled, retrained = fine_tune(*common, Compiling("float32", Device(), one_device), tmp_path, **changes)
    assert (trained.xla, retrained.xla) == (False, True)
    assert retrained.history[-1].loss == pytest.approx(trained.history[-1].loss, rel=1e-3)
    assert retrained.history[-1].val_accuracy == trained.history[-1].val_accuracy
    apart = [np.abs(b - a).max() for a, b in zip(base.get_weights(), compiled.get_weights(), strict=True)]
    assert max(apart) < 1e-4
