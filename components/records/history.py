"""History of a training: each epoch of both phases, and the phase that was exported."""

from typing import Any, Literal

from components.records.computation import Computation
from serving.storage.documents import Document, Fields


class Epoch(Fields):
    """Metrics of one epoch.

    Attributes:
        phase: "head" or "fine-tune".
        epoch: number within the phase, from 1.
        best: whether the weights of this epoch were kept at the end of the phase.
        loss, accuracy: on the training images.
        val_loss, val_accuracy: on the validation images.
    """

    phase: str
    epoch: int
    best: bool
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


class Score(Fields):
    """Loss and accuracy of a phase on the validation images, with the best weights of that phase."""

    loss: float
    accuracy: float


class TriedHead(Fields):
    """Head that phase 1 tried.

    Attributes:
        units: width of each hidden layer.
        kept: whether this head was kept.
        score: loss and accuracy on the validation images at its best epoch.
    """

    units: list[int]
    kept: bool
    score: Score


class TrainingHistory(Document):
    """Epochs and scores of a training.

    Attributes:
        kept: phase that was exported, "head" or "fine-tune".
        scores: score of each phase that was trained.
        epochs: epochs of both phases in the order of training.
        tried_heads: heads that phase 1 tried, the smallest first; empty if the configuration names one. `epochs` has
            those of the kept head alone.
        trunk_computed: number of images whose features the Trainer had to compute because the store had lost them.
        computation: device, precision, XLA and cores of the training; None of an earlier Graft.
    """

    FILE = "history.json"

    format: Literal[1] = 1
    kept: str
    scores: dict[str, Score]
    epochs: list[Epoch]
    tried_heads: list[TriedHead] = []
    trunk_computed: int
    computation: Computation | None = None

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Adds empty `scores`, and marks no epoch as the best one; 0.2.0 wrote neither."""
        epochs = value.get("epochs")
        if isinstance(epochs, list):
            value["epochs"] = [{"best": False} | epoch if isinstance(epoch, dict) else epoch for epoch in epochs]
        return {"scores": {}} | value
