"""Renders the keys of the table `[kubeflow]` for docs/configuration.md."""

from typing import Any

import tomlkit

from pipeline.config.pods import Pods, TaskPods


def render_pod_table() -> str:
    """Returns the table of docs/configuration.md: each key with an example and the values that it takes."""
    rows = ["| key of `[kubeflow]` | by task | example | what it does (what it takes) |", "|---|---|---|---|"]
    for name, field in Pods.model_fields.items():
        extra: Any = field.json_schema_extra
        own = "yes" if name in TaskPods.model_fields else ""
        rows.append(
            f"| `{name}` | {own} | `{_to_toml(extra['example'])}` | {field.description} ({extra['expected']}) |"
        )
    return "\n".join(rows)


def _to_toml(value: Any) -> str:
    """Renders a value as TOML on one line, with tables in line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_to_key(name)} = {_to_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_to_toml, value)) + "]"
    return str(tomlkit.item(value).as_string())


def _to_key(name: str) -> str:
    return str(tomlkit.key(name).as_string())
