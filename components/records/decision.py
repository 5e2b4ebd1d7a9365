"""Decision of the RetrainingGate."""

from typing import Literal

from serving.storage.documents import Document


class RetrainingDecision(Document):
    """Says whether a run trains.

    Attributes:
        train: whether it does.
        reason: why, or why not.
        new_images: number of images that the live model has not seen.
        gone_images: number of images that the live model has seen and this run does not have.
        settings_key: digest of what makes a model of images.
        images_digest: digest of the set of images.
        refused: whether a model of the same images and settings was refused or withdrawn before.
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
