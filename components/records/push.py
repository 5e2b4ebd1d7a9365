"""Outcome of a push; a property of the PushedModel artifact holds it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from typing_extensions import Self

from serving.storage.documents import Fields

CANARY: Final = "canary"
SUPERSEDED: Final = "overtaken"
WITHDRAWN: Final = "withdrawn"


class Rejection(Fields):
    """Version because of which a blessed model was not pushed.

    Attributes:
        version: number of that version.
        state: "withdrawn" or "canary" if that version is the same model; "overtaken" if it became live during the run.
    """

    version: int
    state: Literal["canary", "overtaken", "withdrawn"]


class PushOutcome(Fields):
    """Outcome of a push.

    Attributes:
        version: number of the version of this model, live or the canary; None if the model was not pushed.
        path: folder of that version, or "".
        new: whether this push made that version.
        canary: whether that version is the canary.
        held_back: version because of which a blessed model was not pushed; None if there is none.
        removed_versions: numbers of the old versions that the push removed.
    """

    PROPERTY: ClassVar[str] = "outcome"  # property of the artifact that holds the outcome as JSON

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
