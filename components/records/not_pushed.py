"""Record of the newest model that was trained and not pushed."""

from typing import Literal

from serving.storage.documents import Document


class UnpushedModel(Document):
    """Model that was not pushed; the next run with the same images and settings does not train that model again.

    Attributes:
        settings_key: digest of the settings that determine a model.
        images_digest: digest of the set of images.
        live: number of the version that the model was compared with; None if no version was live.
        reasons: reasons why the model was not pushed.
        refused: whether the model was rejected; False if the same model is live already.
    """

    FILE = "not_pushed.json"

    format: Literal[1] = 1
    settings_key: str
    images_digest: str
    live: int | None
    reasons: list[str]
    refused: bool
