"""Origin of the newest model that was trained and not pushed."""

from typing import Literal

from serving.storage.documents import Document


class UnpushedModel(Document):
    """Model that was not pushed; the next run of the same images and settings does not train it again.

    Attributes:
        settings_key: digest of what makes a model of images.
        images_digest: digest of the set of images.
        live: number of the version that the model was compared with; None if none was live.
        reasons: why the model was not pushed.
        refused: whether there is something wrong with the model; else it is live already.
    """

    FILE = "not_pushed.json"

    format: Literal[1] = 1
    settings_key: str
    images_digest: str
    live: int | None
    reasons: list[str]
    refused: bool
