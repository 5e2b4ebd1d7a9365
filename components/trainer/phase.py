"""One call of Keras' fit: optimizer, callbacks, best epoch."""

import math
import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from components.network import resnet
from components.network.padded import PaddedNetwork, pad_batches
from components.records.history import Epoch
from components.trainer.callbacks import ReportProgress
from components.trainer.devices import Devices
from components.trainer.optimizer import AdamOptions, make_optimizer
from components.trainer.settings import Settings

HEAD, FINE_TUNE = "head", "fine-tune"
BALANCED = "balanced"


def train_phase(
    phase: str,
    network: keras.Model,
    train: tf.data.Dataset,
    val: tf.data.Dataset,
    labels: np.ndarray,
    settings: Settings,
    devices: Devices,
    log_dir: str,
    name: str = "",
    xla: bool = False,
) -> list[Epoch]:
    """Trains the trainable layers of a network and restores the weights of the best epoch.

    Args:
        phase: HEAD or FINE_TUNE, which sets epochs and learning rate.
        network: head, head with the tail of the base, or whole network.
        train: batches of the network's inputs and label indices, in another order each epoch.
        val: validation batches, in any order.
        labels: label indices of the training images, int64 [num_images]; the datasets do not know their length.
        settings: settings of both phases.
        devices: devices to train on.
        log_dir: folder of the TensorBoard logs.
        name: name in the progress and in the logs; "" for that of the phase.
        xla: whether to compile with XLA, on batches of one size, see `components.network.padded`.
    Returns:
        One row per epoch; `best` marks the epoch whose weights the network has.
    """
    options, epochs, step = {
        HEAD: (settings.head_optimizer, settings.head_epochs, "head"),
        FINE_TUNE: (settings.fine_tune_optimizer, settings.fine_tune_epochs, "fine-tuning"),
    }[phase]
    steps_per_epoch = math.ceil(len(labels) / settings.batch_size)
    optimizer = make_optimizer(network, options, steps_per_epoch * epochs, devices.precision)
    resnet.compile_for_training(network, optimizer, settings.label_smoothing)
    class_weights = balance(labels, len(settings.classes)) if settings.class_weights == BALANCED else None
    model = network
    if xla:
        model = PaddedNetwork.of(network)
        resnet.compile_for_training(model, optimizer, settings.label_smoothing, jit_compile=True)
        train = pad_batches(train, settings.batch_size, class_weights)
        val = pad_batches(val, settings.batch_size)
        class_weights = None  # in the rows of `train`
    log_folder = os.path.join(log_dir, "tensorboard", (name or phase).replace(" ", "-"))
    fitted = model.fit(
        train,
        validation_data=val,
        epochs=epochs,
        class_weight=class_weights,
        callbacks=_make_callbacks(settings, options, name or step, steps_per_epoch, log_folder),
        verbose=0,
    )
    return _make_epochs(fitted.history, phase)


def _make_callbacks(
    settings: Settings, options: AdamOptions, step: str, steps_per_epoch: int, log_dir: str
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a phase: early stopping at the best epoch, TensorBoard logs, and progress.

    With an average of the weights, the network has the averaged weights while it is validated and at the end of each
    epoch. Early stopping keeps them, because its callback comes later; at the end it replaces what Keras leaves.
    """
    average = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if options.average else []
    patience = settings.early_stopping_patience
    return [
        *average,
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience, restore_best_weights=True),
        keras.callbacks.TensorBoard(log_dir, write_graph=False),
        ReportProgress(step, steps_per_epoch),
    ]


def balance(labels: np.ndarray, num_classes: int) -> dict[int, float]:
    """Computes class weights as the inverse of each class's share.

    The weights are those of scikit-learn's `compute_class_weight("balanced")`.

    Args:
        labels: class indices, int64 [num_images]; every class has an image.
        num_classes: number of classes.
    Returns:
        Weight by class index; the mean over all images is 1.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return dict(enumerate((len(labels) / (num_classes * counts)).tolist()))


def _make_epochs(history: dict[str, list[float]], phase: str) -> list[Epoch]:
    """Converts Keras' history into one row per epoch."""
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
    """Returns the index of the epoch that Keras' EarlyStopping restores: the first epoch with the lowest loss.

    Args:
        val_losses: validation loss of each epoch; if all losses are NaN, the result is the first epoch.
    """
    return min(range(len(val_losses)), key=lambda i: val_losses[i] if math.isfinite(val_losses[i]) else math.inf)
