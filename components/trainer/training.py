"""Two-phase training: the head on embeddings, then the head with the tail of the base; the better result is kept."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from components import progress
from components.embedder.artifact import Embedded
from components.embedder.backbone import FrozenBase
from components.network import resnet
from components.network.heads import describe_units, list_candidates
from components.records.history import Epoch, Score, TriedHead
from components.tfdata import READY_BATCHES, shuffle, without_autotune
from components.trainer.devices import Devices
from components.trainer.optimizer import AdamOptions, make_optimizer
from components.trainer.phase import FINE_TUNE, HEAD, train_phase
from components.trainer.scoring import Scored, score
from components.trainer.settings import Settings
from serving.export.signatures import read_classes, read_last_weights


@dataclasses.dataclass(frozen=True)
class Images:
    """Batches of pixels and label indices, as `pixels.to_pixels` gives them.

    Attributes:
        plain: training images without augmentation, in the order on disk.
        shuffled: training images in another order each epoch, augmented if the settings say so.
        val: validation images.
    """

    plain: tf.data.Dataset
    shuffled: tf.data.Dataset
    val: tf.data.Dataset


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Training data of both phases.

    Attributes:
        images: images of `train` and `val`; None if embeddings and features are enough.
        train, val: embeddings of the two splits; None if images are augmented.
        features_train, features_val: outputs of the feature extractor, the inputs of the tail in phase 2; None if they
            are not kept.
        computed: number of images whose features had to be computed again.
    """

    images: Images | None
    train: Embedded | None
    val: Embedded | None
    features_train: tf.data.Dataset | None = None
    features_val: tf.data.Dataset | None = None
    computed: int = 0

    def require_images(self) -> Images:
        """Returns the images, for a phase that has no embeddings or features.

        Raises:
            ValueError: if `images` is None.
        """
        if self.images is None:
            raise ValueError("Inputs: expected images, because embeddings or features are missing")
        return self.images


@dataclasses.dataclass(frozen=True)
class TrainedHead:
    """Result of phase 1.

    Attributes:
        units: width of each hidden layer.
        head: dense head.
        history: one row per epoch of this head.
        scored: score and probabilities on `val`.
        tried: heads that were tried, the smallest first; empty if the settings name one.
        xla: whether XLA compiled the network; never for a head on embeddings.
    """

    units: list[int]
    head: keras.Model
    history: list[Epoch]
    scored: Scored
    tried: list[TriedHead]
    xla: bool = False


@dataclasses.dataclass(frozen=True)
class Trained:
    """Result of both phases.

    Attributes:
        head: dense head.
        history: one row per epoch.
        kept: phase whose weights the base and the head have at the end.
        scores: score of each trained phase at its best epoch.
        val: score and probabilities of the kept phase on the validation images.
        tried: heads that phase 1 tried, see `TrainedHead`.
        xla: whether XLA compiled a network.
    """

    head: keras.Model
    history: list[Epoch]
    kept: str
    scores: dict[str, Score]
    val: Scored
    tried: list[TriedHead]
    xla: bool = False


def train(frozen: FrozenBase, inputs: Inputs, settings: Settings, devices: Devices, log_dir: str) -> Trained:
    """Trains both phases and restores the weights of the better phase.

    Args:
        frozen: base; at the end its network has the weights to export.
        inputs: training and validation data.
        settings: settings of both phases.
        devices: devices to train on.
        log_dir: folder of the TensorBoard logs.
    """
    if inputs.train is None or inputs.val is None:
        images = inputs.require_images()
        phase_1, labels = _train_head_on_images(frozen, images, settings, devices, log_dir)
    else:
        phase_1, labels = try_heads(inputs.train, inputs.val, settings, devices, log_dir), inputs.train.labels
    head, history, tried, head_scored = phase_1.head, phase_1.history, phase_1.tried, phase_1.scored
    if not settings.fine_tune_epochs:
        return Trained(head, history, HEAD, {HEAD: head_scored.score}, head_scored, tried, phase_1.xla)

    before = frozen.network.get_weights(), head.get_weights()
    xla = devices.decide_xla(len(labels), settings.fine_tune_epochs)
    history = history + _fine_tune(frozen, head, inputs, labels, settings, devices, log_dir, xla)
    scored = _score_fine_tuned(frozen, head, inputs, settings)
    scores = {HEAD: head_scored.score, FINE_TUNE: scored.score}
    if is_worse(scored.score, head_scored.score):
        frozen.network.set_weights(before[0])
        head.set_weights(before[1])
        return Trained(head, history, HEAD, scores, head_scored, tried, xla or phase_1.xla)
    return Trained(head, history, FINE_TUNE, scores, scored, tried, xla or phase_1.xla)


def try_heads(train: Embedded, val: Embedded, settings: Settings, devices: Devices, log_dir: str) -> TrainedHead:
    """Trains each head that `head_units` names on embeddings, and returns the best one.

    The best head has the lowest loss on `val`, see `is_worse`; of equal heads, it is the smallest.

    Args:
        train: embeddings to train on.
        val: embeddings to compare the heads on.
        settings: settings of phase 1.
        devices: devices to train on.
        log_dir: folder of the TensorBoard logs.
    """
    candidates = list_candidates(settings.head_units)
    heads = []
    for units in candidates:
        name = f"{HEAD} with {describe_units(units)}" if len(candidates) > 1 else HEAD
        heads.append(_train_head(units, train, val, settings, devices, log_dir, name))
    best = heads[0]
    for head in heads[1:]:
        best = head if is_worse(best.scored.score, head.scored.score) else best
    tried = [TriedHead(units=head.units, kept=head is best, score=head.scored.score) for head in heads]
    return dataclasses.replace(best, tried=tried if len(candidates) > 1 else [])


def _train_head(
    units: list[int],
    train: Embedded,
    val: Embedded,
    settings: Settings,
    devices: Devices,
    log_dir: str,
    name: str,
) -> TrainedHead:
    """Trains one head on embeddings; `name` stands in the progress and in the folder of the TensorBoard logs."""
    head = build_head(train.embeddings, units, settings)
    batches = batch_embeddings(val, settings.batch_size)
    shuffled = batch_embeddings(train, settings.batch_size, settings.seed)
    history = train_phase(HEAD, head, shuffled, batches, train.labels, settings, devices, log_dir, name)
    return TrainedHead(units, head, history, score(head, batches), [])


def batch_embeddings(embedded: Embedded, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches embeddings and label indices.

    The batch dimension is None, so that the last, smaller batch does not trace a training step again.

    Args:
        embedded: embeddings and label indices.
        batch_size: number of rows a batch.
        shuffle_seed: seed of the order, which changes each epoch; None keeps the order.
    """
    rows = tf.data.Dataset.from_tensor_slices((embedded.embeddings, embedded.labels))
    if shuffle_seed is not None:
        rows = shuffle(rows, len(embedded.labels), shuffle_seed)
    return without_autotune(rows.batch(batch_size).prefetch(READY_BATCHES))


def build_head(embeddings: np.ndarray, units: Sequence[int], settings: Settings) -> keras.Model:
    """Builds the head and, for a warm start, sets the weights of the live model's head.

    Args:
        embeddings: float32 [num_images, 2048]; mean and variance go into the head, see `resnet.build_head`.
        units: width of each hidden layer.
        settings: settings of the head.
    """
    num_classes = len(settings.classes)
    head = resnet.build_head(embeddings, units, num_classes, settings.dropout, settings.seed)
    if settings.live:
        warm_start_head(head, settings.live, settings.classes)
    return head


def warm_start_head(head: keras.Model, path: str, classes: list[str]) -> None:
    """Copies the weights of another model's head into a head.

    Nothing is copied if the other head has other classes or another shape. The base keeps its own weights in any case,
    because the embeddings come from them.

    Args:
        head: head from `resnet.build_head`, changed in place.
        path: SavedModel with the other head.
        classes: class names, in the order of the outputs.
    """
    variables = read_last_weights(path, len(head.weights))
    fits = [v.shape for v in variables] == [tuple(w.shape) for w in head.weights] and read_classes(path) == classes
    if fits:
        head.set_weights(variables)
    logging.info("Warm start from %s: %s.", path, "yes" if fits else "no, its head or its classes are others")


def _train_head_on_images(
    frozen: FrozenBase, images: Images, settings: Settings, devices: Devices, log_dir: str
) -> tuple[TrainedHead, np.ndarray]:
    """Trains the head through the frozen base, for augmented images, whose embeddings change each epoch.

    With several heads to try, they are compared on the images without augmentation, which takes one pass more over
    `val` and no epoch through the base; the best one is then trained on augmented images.
    """
    logging.info("Images are augmented, so phase 1 runs them through the frozen base in each epoch.")
    resnet.freeze(frozen.network)
    embedder = resnet.build_embedder(frozen.network, devices.precision)
    embeddings, labels = embed(embedder, images.plain)
    units, tried = settings.head_units, list[TriedHead]()
    if isinstance(units, str):
        val = Embedded(*embed(embedder, images.val), [])
        best = try_heads(Embedded(embeddings, labels, []), val, settings, devices, log_dir)
        units, tried = best.units, best.tried
    head = build_head(embeddings, units, settings)
    network = resnet.assemble(embedder, head)
    xla = devices.decide_xla(len(labels), settings.head_epochs)
    history = train_phase(HEAD, network, images.shuffled, images.val, labels, settings, devices, log_dir, xla=xla)
    return TrainedHead(units, head, history, score(network, images.val), tried, xla), labels


def _fine_tune(
    frozen: FrozenBase,
    head: keras.Model,
    inputs: Inputs,
    labels: np.ndarray,
    settings: Settings,
    devices: Devices,
    log_dir: str,
    xla: bool,
) -> list[Epoch]:
    """Trains the tail of the base with the head in the precision of the devices; the weights are those of `frozen`."""
    progress.report("building the network to fine-tune")
    base = frozen.network
    resnet.freeze_below(base, settings.fine_tune_from)
    if inputs.features_train is not None:
        network = resnet.assemble_tail(base, str(frozen.split_layer), head, devices.precision)
        train_data, val_data = inputs.features_train, inputs.features_val
    else:
        network = resnet.assemble(resnet.build_embedder(base, devices.precision), head)
        images = inputs.require_images()
        train_data, val_data = images.shuffled, images.val
    return train_phase(FINE_TUNE, network, train_data, val_data, labels, settings, devices, log_dir, xla=xla)


def _score_fine_tuned(frozen: FrozenBase, head: keras.Model, inputs: Inputs, settings: Settings) -> Scored:
    """Evaluates the fine-tuned network in float32, the precision of serving."""
    if inputs.features_val is not None:
        network, val = resnet.assemble_tail(frozen.network, str(frozen.split_layer), head), inputs.features_val
    else:
        network, val = resnet.assemble(resnet.build_embedder(frozen.network), head), inputs.require_images().val
    optimizer = make_optimizer(network, AdamOptions(settings.fine_tune_learning_rate))
    resnet.compile_for_training(network, optimizer, settings.label_smoothing)
    return score(network, val)


def embed(embedder: keras.Model, images: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Computes the embedding of each image.

    Args:
        embedder: network from `resnet.build_embedder` or `resnet.build_tail`.
        images: batches of its inputs, such as pixels from `pixels.to_pixels`, and label indices.
    Returns:
        Embeddings float32 [num_images, 2048] and label indices int64 [num_images], in the order of the batches.
    """
    embeddings, labels = [], []
    for batch, indices in images:
        embeddings.append(embedder.predict_on_batch(batch))
        labels.append(indices.numpy())
        progress.report("images embedded", len(indices))
    return np.concatenate(embeddings), np.concatenate(labels)


def is_worse(one: Score, other: Score) -> bool:
    """Returns whether a score has a higher loss than the other, or the same loss and a lower accuracy.

    The comparison decides which phase is exported. The loss goes first, as it does between the epochs of a phase: on
    few validation images the accuracy changes in steps, and does not measure how certain the model is. A NaN loss is
    worse than any other loss.
    """
    return _rank(one) < _rank(other)


def _rank(score: Score) -> tuple[bool, float, float]:
    converged = math.isfinite(score.loss)
    return converged, -score.loss if converged else 0.0, score.accuracy


def count_passes(settings: Settings, has_features: bool) -> int:
    """Counts how many times the Trainer reads each image: in epochs, for the first head, and for `accepted`.

    Args:
        settings: settings of both phases.
        has_features: whether phase 2 reads stored features instead of images.
    """
    passes = settings.fine_tune_epochs if not has_features else 0
    passes += 1 + settings.head_epochs if settings.augmentation.is_on else 0
    return passes + (passes > 0 and settings.coverage is not None)
