"""Loads the configuration: the file overrides the defaults, options override the file."""

import difflib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import pydantic
import tomlkit
from tomlkit.exceptions import ParseError

from components.network.weights import IMAGENET, RANDOM
from pipeline import CONFIG_FILE
from pipeline.config.config import Config
from pipeline.config.keys import PATHS, Key, all_keys
from pipeline.config.read_pods import TABLE, read_pods
from schema.errors import UsageError
from serving.storage.gfile import is_remote
from serving.storage.regular import read_regular
from serving.storage.wildcards import check_plain

DEFAULT = "default"
_ASSIGNMENT = re.compile(r"""\s*([\w.-]+)\s*=\s*([^"'#\s][^"'#]*?)\s*(?:#.*)?""")  # without quotes
_NUMBER = re.compile(r"[\d.,_+-]+")
_SWITCHES = {"yes", "no", "on", "off", "True", "False"}


def load_config(file: str | None, options: Mapping[str, Any]) -> Config:
    """Merges defaults, a file and options, in this order.

    Args:
        file: path of a TOML file, or None. Relative paths in it are relative to its folder.
        options: values by key ("seed", "beam.args"); None for an option that is not given.
    Returns:
        A checked configuration.
    Raises:
        UsageError: with each unknown or wrong key, the expected and the given value.
    """
    return load_with_sources(file, options)[0]


def load_with_sources(file: str | None, options: Mapping[str, Any]) -> tuple[Config, dict[str, str]]:
    """Loads the configuration as `load_config`, with the source of each value: "default", the file or the option."""
    values = _read_file(file) if file else {}
    sources = dict.fromkeys(all_keys(), DEFAULT) | dict.fromkeys(values, file or "")
    for name, value in options.items():
        if value is not None:
            values[name] = os.path.expanduser(value) if name in PATHS else value
            sources[name] = all_keys()[name].option
    try:
        config = Config(**_nest(values))
    except pydantic.ValidationError as error:
        problems = dict.fromkeys(_describe(e, values, sources, file) for e in error.errors())
        raise UsageError(*problems) from None
    _check_folders(config)
    return config, sources


def _check_folders(config: Config) -> None:
    """Refuses a workspace inside the data folder, or in a remote store.

    Inside the data folder it would be read as a class. A store has neither a database nor locks.
    """
    if is_remote(config.out):
        raise UsageError(
            f"out: expected a folder of this machine, got {config.out}. On Kubeflow everything is kept in a bucket."
        )
    check_out(config.out)
    if is_remote(config.data):
        return
    data, out = os.path.realpath(config.data), os.path.realpath(config.out)
    if os.path.commonpath([data, out]) == data:
        raise UsageError(
            f"out: {config.out} lies inside the data folder {config.data}. Name a folder outside it with --out."
        )


def check_out(out: str) -> None:
    """Refuses a workspace whose absolute path has wildcards of file patterns; the data folder may have some."""
    check_plain(os.path.abspath(out), "out", "Rename that folder, or choose another workspace with --out.")


def load_pods(file: str | None) -> dict[str, Any]:
    """Returns the table `[kubeflow]` of a file, checked; {} without a file or a table.

    Raises:
        UsageError: with each unknown or wrong key of the table.
    """
    table = _read_tree(file).get(TABLE, {}) if file else {}
    read_pods(table, file or "")
    return dict(table)


def _read_file(file: str) -> dict[str, Any]:
    """Reads the values of a file by full name; unknown keys stay in, for the error message.

    The table `[kubeflow]` is checked and left out: it says what pods have, and changes no run.
    """
    tree = _read_tree(file)
    read_pods(tree.pop(TABLE, {}), file)
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if name not in _tables():
            values[name] = value
        elif isinstance(value, dict):
            values |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            raise UsageError(f"{file}: {name}: expected a table, [{name}] on a line of its own; got {value!r}.")
    for name in PATHS:
        if isinstance(values.get(name), str):
            values[name] = _resolve_path(name, values[name], os.path.dirname(file))
    return values


def _read_tree(file: str) -> dict[str, Any]:
    """Reads a TOML file."""
    text = ""
    try:
        text = read_regular(file).decode()
        return dict(tomlkit.parse(text).unwrap())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}. `./graft init` writes one.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not valid TOML: {error}. Save it as UTF-8.") from None
    except ParseError as error:
        raise UsageError(f"{file}: not valid TOML: {error}. {_suggest(text, error)}") from None


def _suggest(text: str, error: ParseError) -> str:
    """Suggests a correction of a line that is not TOML; most lines lack quotes, as data = photos."""
    lines = text.splitlines()
    line = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
    key, value = match.groups() if (match := _ASSIGNMENT.fullmatch(line)) else ("", "")
    if value in _SWITCHES:
        return f"A switch is true or false: {key} = {json.dumps(value in ('yes', 'on', 'True'))}."
    if value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in value[1:-1].split(",")]
        return f"Texts in a list need quotes: {key} = {json.dumps(items, ensure_ascii=False)}."
    if value and value[0] not in "[{" and not _NUMBER.fullmatch(value):
        return f"A text needs quotes: {key} = {json.dumps(value, ensure_ascii=False)}."
    return "`./graft init` writes a valid one to compare."


def _resolve_path(name: str, value: str, folder: str) -> str:
    if is_remote(value) or (name == "weights" and value in (IMAGENET, RANDOM)):
        return value
    return os.path.join(folder, os.path.expanduser(value)) if value else value


def _tables() -> set[str]:
    return {name.partition(".")[0] for name in all_keys() if "." in name}


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        table, dot, key = name.partition(".")
        if dot and table in _tables():
            tree.setdefault(table, {})[key] = value
        else:
            tree[name] = value
    return tree


def _describe(error: Any, values: dict[str, Any], sources: dict[str, str], file: str | None) -> str:
    name = ".".join(str(part) for part in error["loc"])
    key = _find_key(name)
    if key is None:
        close = difflib.get_close_matches(name, [*all_keys(), TABLE], n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(all_keys())}."
        return f"{file}: unknown key {name!r}. {hint}"
    if error["type"] == "missing":
        where = f"name it in {file}" if file else f"in a {CONFIG_FILE}, which `./graft init` writes"
        return f"{key.name}: missing. Name the folder on the command line, or {where}."
    source = sources[key.name]
    label = source if source == key.option else f"{source}: {key.name}"
    return f"{label}: expected {key.expected}; got {_printable(values[key.name])}."


def _find_key(name: str) -> Key | None:
    """Returns the key that contains a location: head_units for head_units.0; None if it is unknown."""
    while name and name not in all_keys():
        name = name.rpartition(".")[0]
    return all_keys().get(name)


def _printable(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else json.dumps(value, default=str, ensure_ascii=False)
