"""JSON documents of known fields: frozen typed classes, each with its file name and the number of its format."""

import json
import os
from typing import Any, ClassVar

import pydantic
from typing_extensions import Self

from schema.errors import GraftError
from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_json
from serving.storage.whole_files import write_whole

_UNKNOWN, _MISSING = "extra_forbidden", "missing"  # pydantic's types of error


class DocumentError(GraftError):
    """A document that is missing or damaged, or has not the fields that it should have."""


class Fields(pydantic.BaseModel):
    """A part of a document: frozen, each field of exactly its type, no field unknown."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    @classmethod
    def check(cls, value: Any, source: str) -> Self:
        """Checks a JSON value.

        Args:
            value: what `json.loads` returned.
            source: name of the file, or of what else the value came from.
        Raises:
            DocumentError: if a field is missing, unknown or of another type.
        """
        try:
            return cls.model_validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            raise DocumentError(f"{source}: {_describe(error)}") from None


class Document(Fields):
    """A JSON file. A subclass names the file in `FILE` and its format, as `format: Literal[1] = 1`.

    Fields are added with a default. A change that a default cannot bridge gets the next number, and `upgrade` turns
    what an older Graft wrote into it.
    """

    FILE: ClassVar[str]

    format: int

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Returns the fields of an older format as those of this one.

        Args:
            value: the document as it was read, without `format`.
            found: its format; 0 where it has none, as 0.2.0 wrote it.
        """
        del found
        return value

    @classmethod
    def parse(cls, value: Any, source: str) -> Self:
        """Checks a JSON document.

        Args:
            value: what `json.loads` returned.
            source: file name, or what else tells a person where the value came from.
        Raises:
            DocumentError: if a field is missing, unknown or of another type, or the format is newer than this Graft.
        """
        if not isinstance(value, dict):
            raise DocumentError(f"{source}: expected a JSON object, got {json.dumps(value)[:40]}")
        current, found = cls.model_fields["format"].default, value.get("format", 0)
        if type(found) is not int or not 0 <= found <= current:
            raise DocumentError(
                f"{source}: format {json.dumps(found)[:40]}; this Graft reads up to {current}. "
                "A newer Graft wrote it: use that one."
            )
        fields = {key: field for key, field in value.items() if key != "format"}
        return cls.check(fields if found == current else cls.upgrade(fields, found), source)

    @classmethod
    def read(cls, folder: str) -> Self:
        """Reads the document from its file in a folder, here or in a store.

        Raises:
            DocumentError: as `parse`; also if there is no such file, or it is damaged.
            OSError: if a store does not answer.
        """
        path = os.path.join(folder, cls.FILE)
        try:
            value = read_json(path)
        except DamagedError as error:
            raise DocumentError(f"{path}: {error}") from None
        if value is None:
            raise DocumentError(f"{path}: is missing")
        return cls.parse(value, path)

    def write(self, folder: str) -> None:
        """Writes the document to its file in a folder, whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        with write_whole(os.path.join(folder, self.FILE)) as path, gfile(path).GFile(path, "w") as file:
            file.write(self.render())

    def render(self) -> str:
        """Returns the JSON text, with an indent of one, as it is written."""
        return self.model_dump_json(indent=1)


def _describe(error: pydantic.ValidationError) -> str:
    """Names the first field that is wrong, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == _UNKNOWN:
        return f"unknown field {name}"
    if first["type"] == _MISSING:
        return f"field {name} is missing"
    got = json.dumps(first["input"], ensure_ascii=False)[:40]
    return f"field {name}: {first['msg'][0].lower()}{first['msg'][1:]}, got {got}"
