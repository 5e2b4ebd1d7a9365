"""JSON documents with typed fields: frozen classes with a file name and a format number."""

import json
import os
from typing import Any, ClassVar

import pydantic
from typing_extensions import Self

from schema.errors import GraftError
from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_json
from serving.storage.whole_files import name_temporary, write_whole

_UNKNOWN, _MISSING = "extra_forbidden", "missing"  # error types of pydantic


class DocumentError(GraftError):
    """Error of a document that is missing or damaged, or has missing, unknown or mistyped fields."""


class Fields(pydantic.BaseModel):
    """Part of a document: frozen, with strict types and without unknown fields."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    @classmethod
    def check(cls, value: Any, source: str) -> Self:
        """Checks a JSON value.

        Args:
            value: result of `json.loads`.
            source: origin of the value, such as a file name, for the message.
        Raises:
            DocumentError: if a field is missing, unknown or of another type.
        """
        try:
            return cls.model_validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            raise DocumentError(f"{source}: {_describe(error)}") from None


class Document(Fields):
    """JSON file. A subclass defines the file name in `FILE`, and the format number as `format: Literal[1] = 1`.

    A new field has a default. A change that needs more than a default gets the next format number, and `upgrade`
    converts documents of older formats.
    """

    FILE: ClassVar[str]

    format: int

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Converts the fields of an older format to the present format.

        Args:
            value: fields of the document, without `format`.
            found: format number of the document; 0 for a document without one, written by Graft 0.2.0.
        """
        del found
        return value

    @classmethod
    def parse(cls, value: Any, source: str) -> Self:
        """Checks a JSON document.

        Args:
            value: result of `json.loads`.
            source: origin of the value, such as a file name, for the message.
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
        """Reads the document from its file in a folder, on this machine or in a store.

        Raises:
            DocumentError: as `find`; also if the file is missing.
            OSError: if a store does not answer.
        """
        found = cls.find(folder)
        if found is None:
            raise DocumentError(f"{os.path.join(folder, cls.FILE)}: is missing")
        return found

    @classmethod
    def find(cls, folder: str) -> Self | None:
        """Reads the document as `read` does; returns None if the file is missing.

        Raises:
            DocumentError: as `parse`; also if the file is damaged.
            OSError: if a store does not answer.
        """
        path = os.path.join(folder, cls.FILE)
        try:
            value = read_json(path)
        except DamagedError as error:
            raise DocumentError(f"{path}: {error}") from None
        return None if value is None else cls.parse(value, path)

    def write(self, folder: str) -> None:
        """Writes the document atomically to its file in a folder.

        Raises:
            OSError: if the file cannot be written.
        """
        target = os.path.join(folder, self.FILE)
        # The temporary file is in the folder itself, which may be a volume of its own.
        with write_whole(target, name_temporary(target)) as path, gfile(path).GFile(path, "w") as file:
            file.write(self.render())

    def render(self) -> str:
        """Returns the JSON text of the file, with an indent of one."""
        return self.model_dump_json(indent=1)


def _describe(error: pydantic.ValidationError) -> str:
    """Returns the name of the first faulty field and its fault."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == _UNKNOWN:
        return f"unknown field {name}"
    if first["type"] == _MISSING:
        return f"field {name} is missing"
    got = json.dumps(first["input"], ensure_ascii=False)[:40]
    return f"field {name}: {first['msg'][0].lower()}{first['msg'][1:]}, got {got}"
