"""The keys of the configuration, one by one, as help, files and messages need them."""

import dataclasses
import functools
from typing import Any

from pipeline.config.config import Config

PATHS = ("data", "out", "weights")


@dataclasses.dataclass(frozen=True)
class Key:
    """One thing that can be set.

    Attributes:
        name: in the file; with a dot where it is in a table of its own: "beam.args".
        group: the heading it stands under.
        description: what it does.
        expected: what values it takes.
        default: None if there is none.
        example: a value to show where the default is None.
        metavar: what stands for a value in the help of its option.
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
        """On the command line."""
        return "--" + self.name.replace("_", "-").replace(".", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it takes true or false: on the command line no value, but --name or --no-name."""
        return isinstance(self.default, bool)

    @property
    def parameter(self) -> str:
        """As a name in Python."""
        return self.name.replace(".", "__")


@functools.cache
def all_keys() -> dict[str, Key]:
    """The keys by name, in the order of the configuration; tables last."""
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
    """What a value may be, in words, from its JSON schema."""
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
