"""Outcome of a push; a property of the PushedModel artifact holds it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from typing_extensions import Self

from serving.storage.documents import Fields

CANARY: Final = "canary"
SUPERSEDED: Final = "overtaken"
WITHDRAWN: Final = "withdrawn"


class Rejection(Fields):
    """Version for which a good model was not pushed.

    Attributes:
        version: its number.
        state: WITHDRAWN or CANARY if it is the same model; SUPERSEDED if it became live during the run.
    """

    version: int
    state: Literal["canary", "overtaken", "withdrawn"]


class PushOutcome(Fields):
    """Outcome of a push.

    Attributes:
        version: number of the version that the model is, live or the canary; None if it is not pushed.
        path: folder of that version, or "".
        new: whether this push made that version.
        canary: whether that version is the canary.
        held_back: version for which the model was not pushed; None if there is none.
        removed_versions: numbers of the old versions that the push removed.
    """

    PROPERTY: ClassVar[str] = "outcome"  # of the artifact, as JSON; TFX's Pusher sets others beside it

    version: int | None = None
    path: str = ""
    new: bool = False
    canary: bool = False
    held_back: Rejection | None = None
    removed_versions: list[int] = []

    @classmethod
    def read(cls, properties: Mapping[str, Any]) -> Self:
        """Reads the outcome from the properties of the artifact."""
        return cls.model_validate_json(properties[cls.PROPERTY])
