"""Writes docs/commands.md: the help of every command.

`./graft` answers from that page where no environment is set up. This module is in `kubeflow/`, because
`kubeflow/cli.py` adds the last commands.
"""

import sys
from collections.abc import Iterator

import click

from kubeflow.cli import cli
from pipeline.commands.configured import ConfiguredCommand

_WIDTH = 78  # columns; click's own on a terminal of 80 columns, and without a terminal
_HEAD = """\
# Commands

<!-- made by python -m kubeflow.command_reference docs/commands.md -->

The help of every command, as `./graft COMMAND --help` prints it.
"""


def render_commands() -> str:
    """Returns the page: one heading and one block of help for each command, each group before its commands."""
    root = click.Context(cli, info_name="./graft", terminal_width=_WIDTH, **cli.context_settings)
    return "\n".join([_HEAD, *_sections(cli, root)])


def _sections(command: click.Command, ctx: click.Context) -> Iterator[str]:
    # `answer.awk` looks for this sentence: it must not refuse options that click passes on.
    passed_on = "Other options are passed on.\n\n" if ctx.ignore_unknown_options else ""
    yield f"## {ctx.command_path}\n\n{passed_on}```text\n{command.get_help(ctx)}\n```\n"
    if isinstance(command, ConfiguredCommand) and command.has_beam_options:
        yield f"### --help-beam\n\n```text\n{command.describe_beam_options(ctx)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if subcommand := command.get_command(ctx, name):
                settings = subcommand.context_settings
                yield from _sections(subcommand, click.Context(subcommand, ctx, name, **settings))


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(render_commands())
