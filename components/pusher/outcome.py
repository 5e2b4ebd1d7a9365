"""Outcome of a push, as one property of the PushedModel artifact."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from serving.storage.documents import Fields

if TYPE_CHECKING:
    from tfx import types  # takes seconds, and those who read a manifest need none of it

CANARY, OVERTAKEN, WITHDRAWN = "canary", "overtaken", "withdrawn"
_PROPERTY = "outcome"  # beside those that TFX's Pusher sets: pushed, pushed_destination, pushed_version


class HeldBack(Fields):
    """Version for which a model was not pushed.

    Attributes:
        version: its number.
        state: CANARY or WITHDRAWN for one that is the same model; OVERTAKEN for one that became live meanwhile.
    """

    version: int
    state: str


class PushOutcome(Fields):
    """Outcome of a push.

    Attributes:
        version: number of the version that the model is, live or the canary; None if it is not pushed.
        path: folder of that version, or "".
        new: whether this push made that version.
        canary: whether that version is the canary.
        held_back: the version for which the model was not pushed, or None.
        removed_versions: numbers of the old versions that the push removed.
    """

    version: int | None = None
    path: str = ""
    new: bool = False
    canary: bool = False
    held_back: HeldBack | None = None
    removed_versions: list[int] = []

    def write(self, pushed: "types.Artifact") -> None:
        """Writes the outcome into a property of the artifact."""
        pushed.set_string_custom_property(_PROPERTY, self.model_dump_json())

    @classmethod
    def read(cls, properties: Mapping[str, Any]) -> Self:
        """Reads the outcome from the properties of the artifact."""
        return cls.model_validate_json(properties[_PROPERTY])
