"""Writes docs/schemas/: JSON schemas of the manifest, of printed documents and of a version's record."""

import inspect
import json
import pathlib
import sys
from typing import Any

import pydantic

from components.records.comparison import Comparison
from components.records.run_list import RunList
from pipeline.workspace.manifest import NOT_PRINTED, FailedRun, RunManifest, RunResult, SkippedRun
from serving.releases.record import VersionRecord
from serving.storage.documents import Fields

Schema = dict[str, Any]  # JSON Schema, as pydantic makes it

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOT_PRINTED = ("RunConfig", "RunResolved")  # types of the fields that the output of a run lacks
_ATTRIBUTES = "\n\nAttributes:\n"
_ADDED = {
    "model": {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "description": "path of the live or canary version after the run; null if there is none.",
    },
    "report": {"type": "string", "description": "path of the run's folder."},
}


def make_schemas() -> dict[str, Schema]:
    """Builds the schemas, by file name."""
    return {
        "manifest.schema.json": _combine("runs/<run id>/manifest.json", [RunResult, SkippedRun, FailedRun]),
        "run_output.schema.json": _combine("Output of ./graft run --json", [RunResult, SkippedRun], printed=True),
        "comparison.schema.json": _combine("Output of ./graft compare --json", [Comparison]),
        "run_list.schema.json": _combine("Output of ./graft runs --json", [RunList]),
        "version_record.schema.json": _combine("assets.extra/graft.json of a pushed version", [VersionRecord]),
    }


def write_schemas(folder: str) -> None:
    """Writes the schemas into a folder, and makes the folder if it is missing."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    for name, schema in make_schemas().items():
        text = json.dumps(schema, indent=1, ensure_ascii=False)
        pathlib.Path(folder, name).write_text(f"{text}\n", encoding="utf-8")


def _combine(title: str, kinds: list[type[Fields]], printed: bool = False) -> Schema:
    """Builds the schema of a document that has one of several classes."""
    _, schema = pydantic.json_schema.models_json_schema([(kind, "validation") for kind in kinds])
    for definition in schema["$defs"].values():
        _describe_fields(definition)
    for kind in kinds:
        _keep_written(schema["$defs"][kind.__name__], kind)
        if printed:
            _change_to_output(schema["$defs"][kind.__name__])
            schema["$defs"] = {name: found for name, found in schema["$defs"].items() if name not in _NOT_PRINTED}
    references = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]
    return {"$schema": _DIALECT, "title": title, "anyOf": references, **schema}


def _describe_fields(definition: Schema) -> None:
    """Moves the texts of attributes from a docstring to the properties, in place; drops pydantic's titles."""
    definition["description"], _, attributes = definition.get("description", "").partition(_ATTRIBUTES)
    attributes = (
        attributes or str(inspect.getdoc(RunManifest)).partition(_ATTRIBUTES)[2]
    )  # the classes of runs inherit them
    for entry in attributes.replace("\n        ", " ").split("\n"):
        names, _, text = entry.strip().partition(": ")
        for name in names.split(", "):
            if name in definition["properties"]:
                definition["properties"][name]["description"] = text.replace("None", "null")
    for value in definition["properties"].values():
        value.pop("title", None)


def _keep_written(definition: Schema, kind: type[Fields]) -> None:
    """Drops the fields that a class of run lacks, in place; a version record has every field."""
    names = list(definition["properties"])
    required = set(names if kind is VersionRecord else definition["required"]) | {"format"}
    if issubclass(kind, RunManifest):
        names = [name for name in names if name in required or name in kind.__annotations__]
    definition["properties"] = {name: definition["properties"][name] for name in names}
    definition["required"] = [name for name in names if name in required]
    for name in required:
        definition["properties"][name].pop("default", None)


def _change_to_output(definition: Schema) -> None:
    """Changes the schema of a manifest to that of a run's output, in place."""
    properties = {name: value for name, value in definition["properties"].items() if name not in NOT_PRINTED}
    definition["properties"] = {**_ADDED, **properties}
    definition["required"] = [*_ADDED, *(name for name in definition["required"] if name not in NOT_PRINTED)]


if __name__ == "__main__":
    write_schemas(sys.argv[1])
