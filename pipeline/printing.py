"""Lays out what a run prints: labelled lines that wrap between words, and commands as the user called Graft."""

import io
import os
import re
import shlex
import sys
import textwrap
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from schema.errors import GraftError, describe_error

LABEL_WIDTH = 10
_WRITTEN = "./graft "  # as commands stand in the sources
_LEAST_WIDTH = 30  # columns of text beside a label, however narrow the terminal


def find_command() -> str:
    """Returns what the user typed to call Graft, fit for a shell: `./graft`, or another path of the script."""
    return shlex.quote(os.environ.get("GRAFT_COMMAND") or "./graft")


def as_called(text: str) -> str:
    """Replaces `./graft` in a text by what the user typed, so that a printed command runs where it is read."""
    return text.replace(_WRITTEN, f"{find_command()} ")


def print_labelled(console: Console, label: str, markup: str) -> None:
    """Prints a text beside a label; on a terminal wrapped between words, below its first line.

    Args:
        console: where to print.
        label: up to 9 characters in rich's markup, such as "Data:"; "" to go on below the line before.
        markup: the text, in rich's markup.
    """
    head = Text.from_markup(label)
    head.pad_right(LABEL_WIDTH - len(head))
    _print_wrapped(console, head, Text.from_markup(as_called(markup)), LABEL_WIDTH)


def print_indented(console: Console, text: str, indent: int) -> None:
    """Prints a line some columns in; on a terminal wrapped between words, with what follows 2 columns deeper."""
    _print_wrapped(console, Text(" " * indent), Text(text), indent + 2)


def _print_wrapped(console: Console, head: Text, text: Text, indent: int) -> None:
    widths = (max(_LEAST_WIDTH, console.width - used) for used in (len(head), indent))
    breaks = _find_breaks(text.plain, *widths) if console.is_terminal else []
    for line in text.divide(breaks):
        line.rstrip()
        console.print(head + line, highlight=False, soft_wrap=True)
        head = Text(" " * indent)


def _find_breaks(text: str, first_width: int, width: int) -> list[int]:
    """Returns the positions at which lines after the first begin. Rich itself would break words that are too long."""
    breaks, start, room = [], 0, first_width
    for word in re.finditer(r"\S+", text):
        if word.start() > start and cell_len(text[start : word.end()]) > room:
            start, room = word.start(), width
            breaks.append(start)
    return breaks


def print_unbroken(console: Console, label: str, text: str) -> None:
    """Prints a path or a command beside a label on one line, however long, so that it can be copied."""
    console.print(label.ljust(LABEL_WIDTH) + as_called(text), highlight=False, soft_wrap=True, markup=False)


def print_error(error: GraftError, stream: Any = None) -> None:
    """Prints a message to the standard error; on a terminal wrapped between words.

    Args:
        error: with the message.
        stream: another one to print to.
    """
    stream = stream or sys.stderr
    lines = as_called(describe_error(error)).splitlines()
    if stream.isatty():
        width = os.get_terminal_size(stream.fileno()).columns
        lines = [part for line in lines for part in _wrap(line, width)]
    print("\n".join(lines), file=stream, flush=True)


def print_usage_error(error: click.ClickException) -> None:
    """Prints click's message to the standard error: usage, hint and what is wrong."""
    shown = io.StringIO()
    error.show(shown)
    print(shown.getvalue(), end="", file=sys.stderr, flush=True)


def _wrap(line: str, width: int) -> list[str]:
    """Wraps a line between words; a path is one word, and stays whole even where it is longer than a line."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    width = max(_LEAST_WIDTH, width - 1)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [""]
