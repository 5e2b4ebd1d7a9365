"""Keras callbacks of the training."""

import keras

from components import progress


class ReportProgress(keras.callbacks.Callback):
    """Callback that reports each batch of a phase, and the metrics of each epoch."""

    def __init__(self, step: str, steps_per_epoch: int):
        """Creates the callback of one phase.

        Args:
            step: name of the phase in the progress.
            steps_per_epoch: number of batches an epoch, which Keras does not know before the first epoch has ended.
        """
        super().__init__()
        self._step = step
        self._steps_per_epoch = steps_per_epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Reports a batch as done."""
        progress.report(f"{self._step} steps", 1, self._steps_per_epoch * self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Reports loss and accuracy of the epoch on `train` and on `val`."""
        progress.report(
            f"{self._step} steps",
            note=f"{self._step} {epoch + 1}/{self.params['epochs']}: "
            f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}; "
            f"val loss {logs['val_loss']:.3f}, accuracy {logs['val_accuracy']:.3f}",
        )
