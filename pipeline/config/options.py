"""Options of commands that come from the configuration: one for each key, under its heading."""

import shlex
from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

import click

from pipeline import CONFIG_FILE
from pipeline.config.config import Config
from pipeline.config.keys import Key, all_keys
from pipeline.config.reference import effective_values, to_toml
from schema.text import quote

_BEAM = "Apache Beam"


def make_options(names: Collection[str] = ()) -> list[click.Option]:
    """Builds an option for each key, or for the named ones; the value of an option that is not given is None."""
    return [
        click.Option([_spell(k), k.parameter], default=None, metavar=k.metavar, help=_help(k)) for k in _choose(names)
    ]


def write_run_command(data: str | None, file: str | None, options: Mapping[str, Any]) -> str:
    """Returns the command that trains on a folder, quoted for a shell.

    Args:
        data: folder of images; None for that of the configuration file.
        file: configuration file, or None.
        options: value by key, as a command gets it from its options; None for an option that is not given.
    """
    words = ["./graft", "run", *([quote(data)] if data else [])]
    if file and file != CONFIG_FILE:
        words += ["--config", quote(file)]
    return " ".join([*words, *_write_words(options)])


def find_differences(config: Config, base: Config) -> dict[str, Any]:
    """Returns the values that differ from another configuration by key, as a command gets them from its options."""
    bases = effective_values(base)
    return {
        name: value if value is None or isinstance(value, bool) else _spell_value(name, value)
        for name, value in effective_values(config).items()
        if value != bases[name]
    }


def _spell_value(name: str, value: object) -> str:
    """Renders a value for the command line, where `beam.args` is split as a shell does and other lists at commas."""
    return shlex.join(value) if name == "beam.args" and isinstance(value, tuple) else _on_command_line(value)


def _write_words(values: Mapping[str, Any]) -> list[str]:
    words = []
    for key in all_keys().values():
        value = values.get(key.name)
        if value is None:
            continue
        if key.is_switch:
            words.append(key.option if value else f"--no-{key.option[2:]}")
        else:
            words += [key.option, quote(str(value))]
    return words


def write_options(
    own: list[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter, names: Collection[str] = ()
) -> None:
    """Writes the help of a command: its own options, then those of the named keys, or of all keys but Beam's."""
    with formatter.section("Options"):
        options = (option for option in own if isinstance(option, click.Option))
        formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])
    for group, keys in groupby(_choose(names), key=lambda key: key.group):
        if group != _BEAM:
            _write_group(group, list(keys), formatter)


def write_beam_options(formatter: click.HelpFormatter) -> None:
    """Writes the help of the options of Apache Beam."""
    _write_group(_BEAM, [key for key in all_keys().values() if key.group == _BEAM], formatter)


def _choose(names: Collection[str]) -> list[Key]:
    return [key for key in all_keys().values() if not names or key.name in names]


def _write_group(group: str, keys: list[Key], formatter: click.HelpFormatter) -> None:
    with formatter.section(group):
        formatter.write_dl(
            [(_spell(key, " / ") if key.is_switch else f"{key.option} {key.metavar}", _help(key)) for key in keys]
        )


def _spell(key: Key, between: str = "/") -> str:
    """Returns the name of an option; a switch has a second name, --no-..., which overrides the file."""
    return f"{key.option}{between}--no-{key.option[2:]}" if key.is_switch else key.option


def _help(key: Key) -> str:
    default = "" if key.default is None else f"  [{_on_command_line(key.default)}]"
    return f"{key.description}{default}"


def _on_command_line(value: object) -> str:
    """Renders a value as a user would type it."""
    if isinstance(value, dict):
        return ",".join(map(str, value.values()))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else to_toml(value)
