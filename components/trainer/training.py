"""The two phases: the head on embeddings, then the upper part of the base with it; the better of the two is kept."""

import dataclasses
import math
import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from components import progress
from components.embedder.artifact import Embedded
from components.embedder.backbone import FrozenBase
from components.network import resnet
from components.network.weights import RANDOM
from components.records.history import Epoch, Score
from components.tfdata import READY_BATCHES, shuffle, without_autotune
from components.trainer.callbacks import ReportProgress
from components.trainer.devices import Devices
from components.trainer.scoring import Scored, score
from components.trainer.settings import Settings
from serving.export.signatures import read_classes, read_last_weights

HEAD, FINE_TUNE = "head", "fine-tune"
BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class Images:
    """Batches of pixels and label indices, as `pixels.to_pixels` gives them.

    Attributes:
        plain: the training images as they are, in the order on disk.
        shuffled: the training images in another order each epoch, augmented if asked.
        val: the validation images.
    """

    plain: tf.data.Dataset
    shuffled: tf.data.Dataset
    val: tf.data.Dataset


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Everything that there is to train on.

    Attributes:
        images: of the splits; None where the others serve.
        train, val: their embeddings; None where images are augmented.
        features_train, features_val: what phase 2 starts from, if it is kept.
        computed: how many images had to go through the feature extractor for that once more.
    """

    images: Images | None
    train: Embedded | None
    val: Embedded | None
    features_train: tf.data.Dataset | None = None
    features_val: tf.data.Dataset | None = None
    computed: int = 0

    def find_images(self) -> Images:
        """Returns the images.

        Raises:
            ValueError: if there are none: what lacks embeddings, or the output of the trunk, is trained on images.
        """
        if self.images is None:
            raise ValueError("Inputs: expected images where there are no embeddings or no output of the trunk")
        return self.images


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of both phases.

    Attributes:
        head: the dense head.
        history: a row per epoch.
        kept: the phase whose weights the base and the head have in the end.
        scores: of each phase that was trained, at its best epoch.
        val_probabilities: of the validation images, by the model that is kept; float32 [num_images, classes].
    """

    head: keras.Model
    history: list[Epoch]
    kept: str
    scores: dict[str, Score]
    val_probabilities: np.ndarray


def train(frozen: FrozenBase, inputs: Inputs, settings: Settings, devices: Devices, log_dir: str) -> Trained:
    """Trains in both phases.

    Args:
        frozen: the base; in the end its network has the weights that are to be exported.
        inputs: what to train and to validate on.
        settings: of both phases.
        devices: what to train on.
        log_dir: for TensorBoard.
    """
    if inputs.train is None or inputs.val is None:
        images = inputs.find_images()
        head, labels, history, head_scored = _train_head_on_images(frozen, images, settings, devices, log_dir)
    else:
        head, labels = build_head(inputs.train.embeddings, settings), inputs.train.labels
        val = batch_embeddings(inputs.val, settings.batch_size)
        shuffled = batch_embeddings(inputs.train, settings.batch_size, settings.seed)
        history = train_phase(HEAD, head, shuffled, val, labels, settings, devices, log_dir)
        head_scored = score(head, val)
    if not settings.fine_tune_epochs:
        return Trained(head, history, HEAD, {HEAD: head_scored.score}, head_scored.probabilities)

    before = frozen.network.get_weights(), head.get_weights()
    history += _fine_tune(frozen, head, inputs, labels, settings, devices, log_dir)
    scored = _score_fine_tuned(frozen, head, inputs, settings)
    scores = {HEAD: head_scored.score, FINE_TUNE: scored.score}
    if is_worse(scored.score, head_scored.score):
        frozen.network.set_weights(before[0])
        head.set_weights(before[1])
        return Trained(head, history, HEAD, scores, head_scored.probabilities)
    return Trained(head, history, FINE_TUNE, scores, scored.probabilities)


def batch_embeddings(embedded: Embedded, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches embeddings and label indices; with a seed in another order each epoch.

    The size of a batch is left open, so that the last and smaller one does not trace a step once more.
    """
    rows = tf.data.Dataset.from_tensor_slices((embedded.embeddings, embedded.labels))
    if shuffle_seed is not None:
        rows = shuffle(rows, len(embedded.labels), shuffle_seed)
    return without_autotune(rows.batch(batch_size).prefetch(READY_BATCHES))


def build_head(embeddings: np.ndarray, settings: Settings) -> keras.Model:
    """The head for these embeddings, float32 [num_images, 2048]; see `resnet.build_head`."""
    num_classes = len(settings.classes)
    head = resnet.build_head(embeddings, settings.head_units, num_classes, settings.dropout, settings.seed)
    if settings.live:
        warm_start_head(head, settings.live, settings.classes)
    return head


def warm_start_head(head: keras.Model, path: str, classes: list[str]) -> None:
    """Starts from the head of another model; the base starts from its own weights always, as do the embeddings.

    Args:
        head: from `resnet.build_head`; changed in place, unless the other has other classes or another shape.
        path: of a SavedModel.
        classes: class names, in the order of the outputs.
    """
    variables = read_last_weights(path, len(head.weights))
    fits = [v.shape for v in variables] == [tuple(w.shape) for w in head.weights] and read_classes(path) == classes
    if fits:
        head.set_weights(variables)
    logging.info("Warm start from %s: %s.", path, "yes" if fits else "no, its head or its classes are others")


def _train_head_on_images(
    frozen: FrozenBase, images: Images, settings: Settings, devices: Devices, log_dir: str
) -> tuple[keras.Model, np.ndarray, list[Epoch], Scored]:
    """Phase 1 where images change from epoch to epoch, so that no embedding is there twice."""
    logging.info("Images are augmented, so phase 1 runs them through the frozen base in each epoch.")
    base = _copy_base(frozen.network, settings, devices)
    resnet.freeze(base)
    embedder = resnet.build_embedder(base)
    embeddings, labels = embed(embedder, images.plain)
    head = build_head(embeddings, settings)
    network = resnet.assemble(embedder, head)
    history = train_phase(HEAD, network, images.shuffled, images.val, labels, settings, devices, log_dir)
    return head, labels, history, score(network, images.val)


def _fine_tune(
    frozen: FrozenBase,
    head: keras.Model,
    inputs: Inputs,
    labels: np.ndarray,
    settings: Settings,
    devices: Devices,
    log_dir: str,
) -> list[Epoch]:
    """Phase 2, in the precision of the devices; the base's float32 network gets the weights."""
    progress.report("building the network to fine-tune")
    base = _copy_base(frozen.network, settings, devices)
    resnet.freeze_below(base, settings.fine_tune_from)
    if inputs.features_train is not None:
        network = resnet.assemble_tail(base, str(frozen.split_layer), head)
        train_data, val_data = inputs.features_train, inputs.features_val
    else:
        network = resnet.assemble(resnet.build_embedder(base), head)
        images = inputs.find_images()
        train_data, val_data = images.shuffled, images.val
    history = train_phase(FINE_TUNE, network, train_data, val_data, labels, settings, devices, log_dir)
    frozen.network.set_weights(base.get_weights())
    return history


def _copy_base(network: keras.Model, settings: Settings, devices: Devices) -> keras.Model:
    """Copies the base, to be trained in the precision of the devices; a weights file is not read again."""
    base = resnet.build_base(settings.image_size, RANDOM, policy=devices.policy)
    base.set_weights(network.get_weights())
    return base


def _score_fine_tuned(frozen: FrozenBase, head: keras.Model, inputs: Inputs, settings: Settings) -> Scored:
    """Evaluates in float32, as it will be served."""
    if inputs.features_val is not None:
        network, val = resnet.assemble_tail(frozen.network, str(frozen.split_layer), head), inputs.features_val
    else:
        network, val = resnet.assemble(resnet.build_embedder(frozen.network), head), inputs.find_images().val
    resnet.compile_for_training(network, settings.fine_tune_learning_rate, settings.label_smoothing)
    return score(network, val)


def embed(embedder: keras.Model, images: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Runs the frozen base once over each image.

    Args:
        embedder: from `resnet.build_embedder`.
        images: batches of pixels and label indices, from `pixels.to_pixels`.
    Returns:
        Embeddings float32 [num_images, 2048] and label indices int64 [num_images].
    """
    embeddings, labels = [], []
    for batch, indices in images:
        embeddings.append(embedder.predict_on_batch(batch))
        labels.append(indices.numpy())
        progress.report("images embedded", len(indices))
    return np.concatenate(embeddings), np.concatenate(labels)


def train_phase(
    phase: str,
    network: keras.Model,
    train: tf.data.Dataset,
    val: tf.data.Dataset,
    labels: np.ndarray,
    settings: Settings,
    devices: Devices,
    log_dir: str,
) -> list[Epoch]:
    """Trains what is trainable of a network, and leaves it at its best epoch.

    Args:
        phase: HEAD or FINE_TUNE; decides on epochs and learning rate.
        network: the head, the head with the tail of the base, or the whole.
        train: batches of what the network takes and label indices, in another order each epoch.
        val: the same of `val`, in any order.
        labels: int64 [num_images], of `train`; batches do not tell their number.
        settings: of both phases.
        devices: what to train on.
        log_dir: for TensorBoard.
    Returns:
        A row per epoch; `best` marks the one whose weights the network has.
    """
    learning_rate, epochs, step = {
        HEAD: (settings.head_learning_rate, settings.head_epochs, "head"),
        FINE_TUNE: (settings.fine_tune_learning_rate, settings.fine_tune_epochs, "fine-tuning"),
    }[phase]
    resnet.compile_for_training(network, learning_rate, settings.label_smoothing, devices.jit_compile)
    fitted = network.fit(
        train,
        validation_data=val,
        epochs=epochs,
        class_weight=balance(labels, len(settings.classes)) if settings.class_weights == BALANCED else None,
        callbacks=_make_callbacks(settings, step, len(labels), os.path.join(log_dir, "tensorboard", phase)),
        verbose=0,
    )
    return _rows(fitted.history, phase)


def _make_callbacks(settings: Settings, step: str, num_images: int, log_dir: str) -> list[keras.callbacks.Callback]:
    """Ends a phase early, at its best epoch; writes the logs of TensorBoard; says how far the phase is."""
    patience, num_batches = settings.early_stopping_patience, math.ceil(num_images / settings.batch_size)
    return [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience, restore_best_weights=True),
        keras.callbacks.TensorBoard(log_dir, write_graph=False),
        ReportProgress(step, num_batches),
    ]


def balance(labels: np.ndarray, num_classes: int) -> dict[int, float]:
    """Weighs each class by the inverse of its share, as scikit-learn's `compute_class_weight("balanced")`.

    Args:
        labels: class indices int64 [num_images]; every class is among them.
        num_classes: how many there are.
    Returns:
        Class index to weight; over all images the mean is 1.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return dict(enumerate((len(labels) / (num_classes * counts)).tolist()))


def is_worse(one: Score, other: Score) -> bool:
    """Tells whether a score has the higher loss, or the same at a lower accuracy; decides what is exported.

    The loss first, for the epochs of a phase and between the phases alike: on the few images of `val` an accuracy moves
    in steps, and says nothing of how sure the model is. A loss that has diverged to NaN is worse than any other.
    """
    return _rank(one) < _rank(other)


def _rank(score: Score) -> tuple[bool, float, float]:
    converged = math.isfinite(score.loss)
    return converged, -score.loss if converged else 0.0, score.accuracy


def count_passes(settings: Settings, has_features: bool) -> int:
    """How often the Trainer reads each image."""
    passes = settings.fine_tune_epochs if not has_features else 0
    return passes + (1 + settings.head_epochs if settings.augmentation.is_on else 0)


def _rows(history: dict[str, list[float]], phase: str) -> list[Epoch]:
    """Returns Keras' history as one row an epoch."""
    best = find_best_epoch(history["val_loss"])
    return [
        Epoch(
            phase=phase,
            epoch=i + 1,
            best=i == best,
            loss=history["loss"][i],
            accuracy=history["accuracy"][i],
            val_loss=history["val_loss"][i],
            val_accuracy=history["val_accuracy"][i],
        )
        for i in range(len(history["loss"]))
    ]


def find_best_epoch(val_losses: Sequence[float]) -> int:
    """Returns the index of the epoch that Keras' EarlyStopping restores: the first with the lowest loss.

    Args:
        val_losses: of each epoch; where all have diverged to NaN, it restores the first.
    """
    return min(range(len(val_losses)), key=lambda i: val_losses[i] if math.isfinite(val_losses[i]) else math.inf)
