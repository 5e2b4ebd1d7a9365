"""Options of commands that come from the configuration: one for each key, under its heading."""

from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

import click

from pipeline.config.keys import Key, all_keys
from pipeline.config.reference import to_toml
from schema.text import quote

_BEAM = "Apache Beam"


def make_options(names: Collection[str] = ()) -> list[click.Option]:
    """Builds an option for each key, or for the named ones; the value of an option that is not given is None."""
    return [
        click.Option([_spell(k), k.parameter], default=None, metavar=k.metavar, help=_help(k)) for k in _choose(names)
    ]


def write_words(values: Mapping[str, Any]) -> list[str]:
    """Returns options as a user types them, quoted for a shell.

    Args:
        values: value by key, as a command gets it from its options; None for an option that is not given.
    """
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
    """Renders a default as a user would type it."""
    if isinstance(value, dict):
        return ",".join(map(str, value.values()))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else to_toml(value)
