"""Renders the configuration: as `graft.toml`, with the values in effect, and as the table of docs/configuration.md."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import tomlkit

from pipeline.config.config import Config
from pipeline.config.keys import Key, all_keys
from pipeline.config.pod_reference import render_pod_table

_WIDTH = 115
_HEAD = """\
# Configuration of Graft; `./graft run` reads it. A line such as #seed = 0 shows the default: uncomment it to change it.
# Options of `./graft run` override this file. Relative paths are relative to the folder of this file.
"""
_HEAD_OF_MINIMAL = """\
# Configuration of Graft; `./graft run` reads it. `./graft run --print-config` shows every key and its value.
"""
_BEGIN = "<!-- {}: made by python -m pipeline.config.reference docs/configuration.md -->"
_END = "<!-- /{} -->"
_PODS = "\n# Kubeflow: the table [kubeflow] says what the pods of a run there have; see docs/kubeflow.md.\n"


def render_template(data: str | None, classes: Sequence[str] = ()) -> str:
    """Renders a commented `graft.toml` with every key at its default.

    Args:
        data: value of the key `data`; None for a commented example.
        classes: example for the key `classes`.
    """

    def line(key: Key) -> str:
        unset = "; not set, so this is an example" if key.default is None and key.name != "data" else ""
        about = textwrap.fill(f"# {_explain(key)}{unset}", _WIDTH, subsequent_indent="# ")
        if key.name == "data" and data:
            return f"{about}\n{_assignment(key, data)}"
        value = key.example if key.default is None else key.default
        if key.name == "classes" and len(classes) > 1:
            value = classes
        return f"{about}\n#{_assignment(key, value)}"

    return "\n".join([_HEAD, *_sections(line)]) + "\n" + _PODS


def render_minimal(data: str | None) -> str:
    """Renders a `graft.toml` with the data folder alone.

    Args:
        data: value of the key `data`; None for a commented example.
    """
    key = all_keys()["data"]
    line = _assignment(key, data) if data else f"#{_assignment(key, key.example)}"
    return f"{_HEAD_OF_MINIMAL}{line}  # {key.description}\n"


def render_effective(config: Config, sources: dict[str, str]) -> str:
    """Renders the values in effect as TOML, each with its source."""
    values = effective_values(config)

    def line(key: Key) -> str:
        value = values[key.name]
        text = f"# {key.name} is not set" if value is None else _assignment(key, value)
        return f"{text:<50}  # {sources[key.name]}"

    return "\n".join(_sections(line))


def render_effective_json(config: Config, sources: dict[str, str]) -> str:
    """Renders the values in effect as JSON: {key: {"value": ..., "source": ...}}."""
    tree = {name: {"value": value, "source": sources[name]} for name, value in effective_values(config).items()}
    return json.dumps(tree, indent=1, ensure_ascii=False, default=str)


def effective_values(config: Config) -> dict[str, Any]:
    """Returns the values by full name."""
    return {name: _get(config, name) for name in all_keys()}


def render_table() -> str:
    """Returns the table of docs/configuration.md."""
    rows = ["| key | default | what it does (what it takes) |", "|---|---|---|"]
    for group, keys in _grouped():
        rows.append(f"| **{group}** | | |")
        for key in keys:
            default = "" if key.default is None else f"`{to_toml(key.default)}`"
            rows.append(f"| `{key.name}` | {default} | {_explain(key)} |")
    return "\n".join(rows)


def update_table(text: str) -> str:
    """Replaces the two tables between their marks in a text: the keys of a run, and those of the pods on Kubeflow.

    Raises:
        ValueError: if a mark is missing.
    """
    for name, table in (("configuration", render_table()), ("kubeflow", render_pod_table())):
        before, begin, rest = text.partition(_BEGIN.format(name))
        _, end, after = rest.partition(_END.format(name))
        if not end:
            raise ValueError(f"expected {_BEGIN.format(name)} and {_END.format(name)}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def to_toml(value: Any) -> str:
    """Renders a value as TOML on one line."""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    return str(tomlkit.item(value).as_string())


def _sections(line: Callable[[Key], str]) -> Iterator[str]:
    for group, keys in _grouped():
        yield f"\n# {group}"
        table = ""
        for key in keys:
            if (new := key.name.rpartition(".")[0]) != table:
                table = new
                yield f"[{table}]"
            yield line(key)


def _grouped() -> Iterator[tuple[str, Iterator[Key]]]:
    return groupby(all_keys().values(), key=lambda key: key.group)


def _explain(key: Key) -> str:
    return f"{key.description} ({key.expected})"


def _assignment(key: Key, value: Any) -> str:
    return f"{key.name.rpartition('.')[2]} = {to_toml(value)}"


def _get(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


if __name__ == "__main__":
    with open(sys.argv[1], "r+", encoding="utf-8") as file:
        updated = update_table(file.read())
        file.seek(0)
        file.write(updated)
        file.truncate()
