"""Decision of the RetrainingGate."""

from typing import Literal

from serving.storage.documents import Document


class RetrainingDecision(Document):
    """Decision on the training of a run.

    Attributes:
        train: whether the run trains.
        reason: reason for the decision.
        new_images: number of images that the live model has not seen.
        gone_images: number of images that the live model has seen and this run does not have.
        settings_key: digest of the settings that determine a model.
        images_digest: digest of the set of images.
        refused: whether a model of the same images and settings was rejected or withdrawn before.
    """

    FILE = "decision.json"

    format: Literal[1] = 1
    train: bool
    reason: str
    new_images: int
    gone_images: int
    settings_key: str
    images_digest: str
    refused: bool = False
