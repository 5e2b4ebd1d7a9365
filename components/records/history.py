"""History of a training: each epoch of both phases, and the phase that was exported."""

from typing import Any, Literal

from serving.storage.documents import Document, Fields


class Epoch(Fields):
    """Figures of one epoch.

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
    """Figures of a phase on the validation images, with its best weights."""

    loss: float
    accuracy: float


class TrainingHistory(Document):
    """Epochs and scores of a training.

    Attributes:
        kept: phase that was exported, "head" or "fine-tune".
        scores: of each phase that was trained.
        epochs: in the order in which they were trained.
        trunk_computed: number of images whose features the Trainer had to compute, for the store had lost them.
    """

    FILE = "history.json"

    format: Literal[1] = 1
    kept: str
    scores: dict[str, Score]
    epochs: list[Epoch]
    trunk_computed: int

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Leaves scores and best epochs open: 0.2.0 did not write them."""
        epochs = value.get("epochs")
        if isinstance(epochs, list):
            value["epochs"] = [{"best": False} | epoch if isinstance(epoch, dict) else epoch for epoch in epochs]
        return {"scores": {}} | value
