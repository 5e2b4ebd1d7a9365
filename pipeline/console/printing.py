"""Prints to the terminal: labelled lines that wrap between words, errors, and commands as the user called Graft."""

import io
import itertools
import os
import sys
from typing import Any, TextIO

import click
from rich.console import Console
from rich.text import Text

from pipeline.console.wrapping import find_breaks
from schema.errors import GraftError, describe_error
from schema.text import printable, printable_lines, quote
from serving.process import output

LABEL_WIDTH = 10
_WRITTEN = "./graft "  # spelling of commands in the sources
_LEAST_WIDTH = 30  # columns of text beside a label, also in a narrower terminal


def find_command() -> str:
    """Returns the command that the user typed, quoted for a shell: `./graft`, or another path of the script."""
    return quote(os.environ.get("GRAFT_COMMAND") or "./graft")


def as_called(text: str) -> str:
    """Replaces `./graft` in a text by the command that the user typed, so that a printed command runs as it is."""
    return text.replace(_WRITTEN, f"{find_command()} ")


class _NamesAreData(Console):
    """Rich's console for texts with names: prints `:dog:` literally, and escapes control characters."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Renders a plain text or the cell of a table."""
        return super().render_str(printable_lines(text), **options)


def make_console(**options: Any) -> Console:
    """Makes a console to print to; `options` are those of rich's Console."""
    return _NamesAreData(emoji=False, highlight=False, **options)


def echo(*lines: str, err: bool = False) -> None:
    """Prints lines to the standard output, or to the standard error, with commands as the user called Graft."""
    output.echo(*map(as_called, lines), err=err)


def echo_json(document: str, file: TextIO | None = None) -> None:
    """Prints a JSON document, from which a parser reads the names unchanged."""
    output.echo_json(document, file)


def print_labelled(console: Console, label: str, markup: str) -> None:
    """Prints a text beside a label; wraps it between words on a terminal.

    Args:
        console: console to print to.
        label: up to 9 characters in rich's markup, such as "Data:"; "" to continue the line before.
        markup: the text, in rich's markup.
    """
    head = Text.from_markup(label, emoji=False)
    head.pad_right(LABEL_WIDTH - len(head))
    _print_wrapped(console, head, Text.from_markup(as_called(printable(markup)), emoji=False), LABEL_WIDTH)


def print_indented(console: Console, text: str, indent: int) -> None:
    """Prints an indented line; wraps it between words on a terminal, with 2 columns more for the further lines."""
    _print_wrapped(console, Text(" " * indent), Text(printable(text)), indent + 2)


def _print_wrapped(console: Console, head: Text, text: Text, indent: int) -> None:
    first, others = (max(_LEAST_WIDTH, console.width - used) for used in (len(head), indent))
    breaks = find_breaks(text.plain, first, others, find_command()) if console.is_terminal else []
    for line in text.divide(breaks):
        line.rstrip()
        console.print(head + line, highlight=False, soft_wrap=True)
        head = Text(" " * indent)


def print_unbroken(console: Console, label: str, text: str) -> None:
    """Prints a path or a command beside a label on one line of any length, so that a user can copy it."""
    print_plain(console, label.ljust(LABEL_WIDTH) + as_called(text))


def print_plain(console: Console, line: str) -> None:
    """Prints one line of any length without markup."""
    console.print(printable(line), highlight=False, soft_wrap=True, markup=False)


def print_error(error: GraftError, stream: Any = None) -> None:
    """Prints an error to the standard error; wraps it between words on a terminal.

    Args:
        error: the error.
        stream: stream to print to; None for the standard error.
    """
    stream = stream or sys.stderr
    lines = printable_lines(as_called(describe_error(error))).split("\n")
    if stream.isatty():
        width = os.get_terminal_size(stream.fileno()).columns
        lines = [part for line in lines for part in _wrap(line, width)]
    output.echo(*lines, file=stream)


def print_usage_error(error: click.ClickException) -> None:
    """Prints an error of click to the standard error: usage, hint and reason."""
    shown = io.StringIO()
    error.show(shown)
    echo(*shown.getvalue().rstrip("\n").split("\n"), err=True)


def _wrap(line: str, width: int) -> list[str]:
    """Wraps a line between words; a path is one word, and stays whole even if it is longer than a line."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    width = max(_LEAST_WIDTH, width - 1)
    starts = [0, *find_breaks(line, width, width - len(indent), find_command()), len(line)]
    first, *others = (line[start:end].rstrip() for start, end in itertools.pairwise(starts))
    return [first, *(indent + part for part in others)]
