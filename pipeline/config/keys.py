"""List of the configuration's keys, for help, files and messages."""

import dataclasses
import functools
from typing import Any

from pipeline.config.config import Config

PATHS = ("data", "out", "weights")


@dataclasses.dataclass(frozen=True)
class Key:
    """Key of the configuration.

    Attributes:
        name: name in the file, with a dot for a key in a table: "beam.args".
        group: heading of the key.
        description: effect of the key.
        expected: values that the key takes, in words.
        default: default value; None if there is none.
        example: value to show where the default is None.
        metavar: placeholder of the value in the help of the option.
    """

    name: str
    group: str
    description: str
    expected: str
    default: Any
    example: Any
    metavar: str

    @property
    def option(self) -> str:
        """Name on the command line."""
        return "--" + self.name.replace("_", "-").replace(".", "-")

    @property
    def is_switch(self) -> bool:
        """True for a boolean key; on the command line it is --name or --no-name, without a value."""
        return isinstance(self.default, bool)

    @property
    def parameter(self) -> str:
        """Name as a parameter of a Python function."""
        return self.name.replace(".", "__")


@functools.cache
def all_keys() -> dict[str, Key]:
    """Returns the keys by name, in the order of the configuration, tables last."""
    schema = Config.model_json_schema()
    keys = {}
    for name, description in schema["properties"].items():
        table = description.get("$ref", "").removeprefix("#/$defs/")
        model: Any = Config.model_fields[name].annotation if table else Config
        inside = schema["$defs"][table]["properties"] if table else {name: description}
        for key, properties in inside.items():
            full_name = f"{name}.{key}" if table else key
            keys[full_name] = _make_key(full_name, properties, model.model_fields[key].get_default())
    return keys


def _make_key(name: str, properties: dict[str, Any], default: Any) -> Key:
    expected = properties["expected"] or _describe(properties)
    return Key(
        name,
        properties["group"],
        properties["description"],
        expected,
        None if repr(default) == "PydanticUndefined" else default,
        properties["example"],
        properties["metavar"] or _make_metavar(expected),
    )


def _make_metavar(expected: str) -> str:
    if expected.startswith("one of "):
        return expected.removeprefix("one of ").replace(", ", "|")
    kinds = {"a whole number": "N", "a number": "X", "a path": "DIR", "a date": "DATE", "true": "true|false"}
    return next(short for start, short in kinds.items() if expected.startswith(start))


def _describe(properties: dict[str, Any]) -> str:
    """Describes the values of a key in words, from its JSON schema."""
    properties = next((p for p in properties.get("anyOf", []) if p["type"] != "null"), properties)
    if "enum" in properties:
        return "one of " + ", ".join(properties["enum"])
    if properties.get("format") == "date":
        return "a date such as 2026-11-23"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return kinds[properties["type"]] + _describe_range(properties)


def _describe_range(properties: dict[str, Any]) -> str:
    words = {
        "minimum": "from {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "to {:g}",
        "exclusiveMaximum": "to below {:g}",
    }
    bounds = [text.format(properties[name]) for name, text in words.items() if name in properties]
    return "".join(" " + bound for bound in bounds)
