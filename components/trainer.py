"""Trainer: the head on embeddings, then the upper part of the base with it; exports the better of the two."""

import dataclasses
import json
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from absl import logging
from tfx.components.trainer.fn_args_utils import FnArgs

from components import curves, model, pixels, progress
from components.callbacks import ReportProgress
from schema import features
from serving.signatures import export_saved_model

HEAD, FINE_TUNE = "head", "fine-tune"
BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the pipeline hands to `run_fn` as `custom_config`.

    Attributes:
        classes: class names, in the order of the outputs.
        image_size: in pixels.
        weights: path of a `notop` weights file, or "random".
        head_units: width of each hidden layer of the head.
        dropout: share of units dropped after each hidden layer of the head while it trains.
        head_epochs, head_learning_rate: phase 1.
        fine_tune_epochs, fine_tune_learning_rate: phase 2; 0 epochs leave it out.
        fine_tune_from: the first block that phase 2 trains, or "all".
        batch_size: images a step.
        early_stopping_patience: epochs without a lower loss on `val` before a phase ends.
        label_smoothing: share of the target that is spread over all classes.
        class_weights: "balanced" weighs rare classes up in training, see `balance`; or "none".
        augmentation: random changes of training images, see `pixels.build_augmentation`.
        seed: of weights, order and augmentation.
        cache_key: what the results depend on besides; TFX hashes it, nothing reads it.
    """

    classes: list[str]
    image_size: int
    weights: str
    head_units: list[int]
    dropout: float
    head_epochs: int
    head_learning_rate: float
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    fine_tune_from: str
    batch_size: int
    early_stopping_patience: int
    label_smoothing: float
    class_weights: str
    augmentation: dict[str, Any]
    seed: int
    cache_key: dict[str, str]


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
class Score:
    """Accuracy and loss on `val`; what decides which phase is exported."""

    accuracy: float
    loss: float

    def is_worse_than(self, other: "Score") -> bool:
        """Lower accuracy, or the same at a higher loss; what has diverged to NaN is worse than what has not."""
        return self._rank() < other._rank()

    def _rank(self) -> tuple[bool, float, float]:
        converged = math.isfinite(self.loss)
        return converged, self.accuracy, -self.loss if converged else 0.0


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; called by TFX's Trainer.

    Args:
        fn_args: paths of the examples and the transform graph, where the model and its logs go, and `Settings`.
    """
    settings = Settings(**fn_args.custom_config)
    keras.utils.set_random_seed(settings.seed)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    base = model.build_base(settings.image_size, settings.weights)
    model.freeze_below(base, settings.fine_tune_from)  # a wrong name fails here, not behind phase 1
    with pixels.cache_folder(
        fn_args.train_files + fn_args.eval_files, settings.image_size, _count_passes(settings), fn_args.model_run_dir
    ) as cache:
        images = read_images(fn_args, transform_output.transform_features_layer(), settings, cache)
        network, history, kept = train(base, images, settings, fn_args.model_run_dir)
    export_saved_model(network, transform_output, settings.classes, fn_args.serving_model_dir)
    write_history(history, kept, fn_args.model_run_dir)


def read_images(
    fn_args: FnArgs,
    transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    settings: Settings,
    cache: str | None,
) -> Images:
    """Makes the datasets of a run; nothing is read yet.

    Args:
        fn_args: names the files.
        transform: the transform graph.
        settings: of batches, order and augmentation.
        cache: folder for resized images, or None.
    """
    train_cache, val_cache = (os.path.join(cache, split) if cache else None for split in (features.TRAIN, features.VAL))
    batch_size, seed = settings.batch_size, settings.seed
    augment = pixels.build_augmentation(settings.augmentation, seed)
    plain = pixels.read_levels(fn_args.train_files, transform, batch_size, cache=train_cache)
    shuffled = pixels.read_levels(fn_args.train_files, transform, batch_size, seed, train_cache)
    val = pixels.read_levels(fn_args.eval_files, transform, batch_size, cache=val_cache)
    return Images(
        plain=pixels.to_pixels(plain),
        shuffled=pixels.to_pixels(shuffled, augment),
        val=pixels.to_pixels(val),
    )


def train(
    base: keras.Model, images: Images, settings: Settings, log_dir: str
) -> tuple[keras.Model, list[dict[str, Any]], str]:
    """Trains in both phases.

    Args:
        base: from `model.build_base`, frozen below what phase 2 trains.
        images: what to train and to validate on.
        settings: of both phases.
        log_dir: for TensorBoard.
    Returns:
        The network at its best; a row per epoch; and the phase that was kept.
    """
    embedder = model.build_embedder(base)
    embeddings, labels = embed(embedder, images.plain)
    head = model.build_head(embeddings, settings.head_units, len(settings.classes), settings.dropout)
    network = model.assemble(embedder, head)
    if pixels.is_on(settings.augmentation):
        logging.info("Images are augmented, so phase 1 runs them through the frozen base in each epoch.")
        model.freeze(base)
        history = train_phase(HEAD, network, (images.shuffled,), (images.val,), labels, settings, log_dir)
        head_score = score(network, images.val)
    else:
        val = embed(embedder, images.val)
        history = train_phase(HEAD, head, (embeddings, labels), val, labels, settings, log_dir)
        head_score = score(head, *val)
    if not settings.fine_tune_epochs:
        return network, history, HEAD

    head_weights = network.get_weights()
    model.freeze_below(base, settings.fine_tune_from)
    history += train_phase(FINE_TUNE, network, (images.shuffled,), (images.val,), labels, settings, log_dir)
    if score(network, images.val).is_worse_than(head_score):
        network.set_weights(head_weights)
        return network, history, HEAD
    return network, history, FINE_TUNE


def embed(embedder: keras.Model, images: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Runs the frozen base once over each image.

    Args:
        embedder: from `model.build_embedder`.
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
    train: tuple[Any, ...],
    val: tuple[Any, ...],
    labels: np.ndarray,
    settings: Settings,
    log_dir: str,
) -> list[dict[str, Any]]:
    """Trains what is trainable of a network, and leaves it at its best epoch.

    Args:
        phase: HEAD or FINE_TUNE; decides on epochs and learning rate.
        network: the head, or the whole.
        train: embeddings and label indices, or one dataset of batches of pixels and label indices.
        val: the same of `val`.
        labels: int64 [num_images], of `train`; a dataset does not tell their number.
        settings: of both phases.
        log_dir: for TensorBoard.
    Returns:
        A row per epoch.
    """
    learning_rate, epochs, step = {
        HEAD: (settings.head_learning_rate, settings.head_epochs, "head"),
        FINE_TUNE: (settings.fine_tune_learning_rate, settings.fine_tune_epochs, "fine-tuning"),
    }[phase]
    model.compile_for_training(network, learning_rate, settings.label_smoothing)
    fitted = network.fit(
        *train,
        validation_data=val,
        epochs=epochs,
        batch_size=settings.batch_size,  # of embeddings; Keras takes a dataset as it is batched and shuffled
        class_weight=balance(labels, len(settings.classes)) if settings.class_weights == BALANCED else None,
        callbacks=[
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=settings.early_stopping_patience, restore_best_weights=True
            ),
            keras.callbacks.TensorBoard(os.path.join(log_dir, "tensorboard", phase), write_graph=False),
            ReportProgress(step, math.ceil(len(labels) / settings.batch_size)),
        ],
        verbose=0,
    )
    return _rows(fitted.history, phase)


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


def score(network: keras.Model, *val: Any) -> Score:
    """Evaluates a network as it is now, whichever epoch that is.

    Args:
        network: compiled; the head, or the whole.
        val: what `network.evaluate` takes: embeddings and label indices, or a dataset of batches of both.
    """
    measured = network.evaluate(*val, verbose=0, return_dict=True)
    return Score(measured["accuracy"], measured["loss"])


def write_history(history: list[dict[str, Any]], kept: str, model_run_dir: str) -> None:
    """Writes `history.json` and `training_curves.png` beside the TensorBoard logs."""
    tf.io.gfile.makedirs(model_run_dir)
    with tf.io.gfile.GFile(os.path.join(model_run_dir, "history.json"), "w") as file:
        file.write(json.dumps({"kept": kept, "epochs": history}, indent=1))
    with tf.io.gfile.GFile(os.path.join(model_run_dir, "training_curves.png"), "wb") as file:
        file.write(curves.draw_curves(history))


def _count_passes(settings: Settings) -> int:
    """How often each image is read: once for its embedding, and in each epoch that embeddings do not serve."""
    return 1 + settings.fine_tune_epochs + (settings.head_epochs if pixels.is_on(settings.augmentation) else 0)


def _rows(history: dict[str, list[float]], phase: str) -> list[dict[str, Any]]:
    """Keras' history as one row an epoch."""
    epochs = len(history["loss"])
    return [{"phase": phase, "epoch": i + 1} | {k: float(v[i]) for k, v in history.items()} for i in range(epochs)]
