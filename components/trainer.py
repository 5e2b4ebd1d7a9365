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
from tfx.components.trainer.fn_args_utils import FnArgs

from components import curves, model
from schema import features
from serving.signatures import export_saved_model

HEAD, FINE_TUNE = "head", "fine-tune"
_SHUFFLED_BATCHES = 8  # the buffer holds encoded images: memory, and the order on disk mixes the classes already


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the pipeline hands to `run_fn` as `custom_config`.

    Attributes:
        classes: class names, in the order of the outputs.
        image_size: in pixels.
        weights: path of a `notop` weights file, or "random".
        head_units: width of each hidden layer of the head.
        head_epochs, head_learning_rate: phase 1.
        fine_tune_epochs, fine_tune_learning_rate: phase 2; 0 epochs leave it out.
        fine_tune_from: the first block that phase 2 trains, or "all".
        batch_size: images a step.
        early_stopping_patience: epochs without a lower loss on `val` before a phase ends.
        seed: of weights and order.
        cache_key: what the results depend on besides; TFX hashes it, nothing reads it.
    """

    classes: list[str]
    image_size: int
    weights: str
    head_units: list[int]
    head_epochs: int
    head_learning_rate: float
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    fine_tune_from: str
    batch_size: int
    early_stopping_patience: int
    seed: int
    cache_key: dict[str, str]


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
    transform = transform_output.transform_features_layer()
    train_pixels = read_pixels(fn_args.train_files, transform, settings.batch_size)
    val_pixels = read_pixels(fn_args.eval_files, transform, settings.batch_size)

    base = model.build_base(settings.image_size, settings.weights)
    model.freeze_below(base, settings.fine_tune_from)  # phase 1 trains none of it; a wrong name fails here, not later
    embedder = model.build_embedder(base)
    train, val = embed(embedder, train_pixels), embed(embedder, val_pixels)

    head = model.build_head(train[0], settings.head_units, len(settings.classes))
    history = train_head(head, train, val, settings, fn_args.model_run_dir)
    network = model.assemble(embedder, head)
    kept = HEAD
    if settings.fine_tune_epochs:
        head_score = score(head, *val)
        head_weights = network.get_weights()
        shuffled = read_pixels(fn_args.train_files, transform, settings.batch_size, settings.seed)
        history += fine_tune(network, shuffled, val_pixels, settings, fn_args.model_run_dir)
        if score(network, val_pixels).is_worse_than(head_score):
            network.set_weights(head_weights)
        else:
            kept = FINE_TUNE

    export_saved_model(network, transform_output, settings.classes, fn_args.serving_model_dir)
    write_history(history, kept, fn_args.model_run_dir)


def read_pixels(
    file_patterns: list[str],
    transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    batch_size: int,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Reads examples through the transform graph.

    Args:
        file_patterns: of TFRecord files.
        transform: the transform graph, raw features to transformed ones.
        batch_size: images a batch.
        shuffle_seed: shuffles anew each epoch; None keeps the order on disk, which mixes the classes.
    Returns:
        Batches of (pixels float32 [batch, size, size, 3], label indices int64 [batch]).
    """
    raw_spec = {name: tf.io.FixedLenFeature([1], tf.string) for name in (features.IMAGE, features.LABEL)}

    def to_pixels(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        transformed = transform(tf.io.parse_example(serialized, raw_spec))
        return transformed[features.PIXELS], transformed[features.LABEL_INDEX][:, 0]

    files = sorted(name for pattern in file_patterns for name in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files)
    if shuffle_seed is not None:
        records = records.shuffle(_SHUFFLED_BATCHES * batch_size, seed=shuffle_seed)
    return records.batch(batch_size).map(to_pixels, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def embed(embedder: keras.Model, pixels: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Runs the frozen base once over each image.

    Returns:
        Embeddings float32 [num_images, 2048] and label indices int64 [num_images].
    """
    embeddings, labels = [], []
    for images, indices in pixels:
        embeddings.append(embedder.predict_on_batch(images))
        labels.append(indices.numpy())
    return np.concatenate(embeddings), np.concatenate(labels)


def train_head(
    head: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    settings: Settings,
    log_dir: str,
) -> list[dict[str, Any]]:
    """Phase 1: trains the head on embeddings, and leaves it at its best epoch."""
    model.compile_for_training(head, settings.head_learning_rate)
    fitted = head.fit(
        *train,
        validation_data=val,
        epochs=settings.head_epochs,
        batch_size=settings.batch_size,
        callbacks=_callbacks(settings, log_dir, HEAD),
        verbose=0,
    )
    return _rows(fitted.history, HEAD)


def fine_tune(
    network: keras.Model,
    train_pixels: tf.data.Dataset,
    val_pixels: tf.data.Dataset,
    settings: Settings,
    log_dir: str,
) -> list[dict[str, Any]]:
    """Phase 2: trains what is trainable of the base with the head, and leaves both at their best epoch."""
    model.compile_for_training(network, settings.fine_tune_learning_rate)
    fitted = network.fit(
        train_pixels,
        validation_data=val_pixels,
        epochs=settings.fine_tune_epochs,
        shuffle=False,  # the dataset is, already
        callbacks=_callbacks(settings, log_dir, FINE_TUNE),
        verbose=0,
    )
    return _rows(fitted.history, FINE_TUNE)


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


def _callbacks(settings: Settings, log_dir: str, phase: str) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=settings.early_stopping_patience, restore_best_weights=True
        ),
        keras.callbacks.TensorBoard(os.path.join(log_dir, "tensorboard", phase), write_graph=False),
    ]


def _rows(history: dict[str, list[float]], phase: str) -> list[dict[str, Any]]:
    """Keras' history as one row an epoch."""
    epochs = len(history["loss"])
    return [{"phase": phase, "epoch": i + 1} | {k: float(v[i]) for k, v in history.items()} for i in range(epochs)]
