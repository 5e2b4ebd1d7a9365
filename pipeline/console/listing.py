"""Prints a list: a table with a row per entry or, on a terminal that is too narrow for it, lines per entry."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from pipeline.console.printing import print_indented

_UNLIMITED = 1000  # columns of a table where the output is no terminal


def print_list(console: Console, table: Table, entries: Iterable[Sequence[str]]) -> None:
    """Prints a table, or the same entries as lines where the table is wider than the terminal.

    Args:
        console: console to print to.
        table: table of the entries, with columns that do not wrap.
        entries: lines of each entry: the first in rich's markup, the others, which are indented, as plain text.
    """
    unlimited = console.options.update(width=_UNLIMITED)
    if console.is_terminal and console.measure(table, options=unlimited).maximum > console.width:
        for head, *others in entries:
            console.print(head, soft_wrap=True)
            for line in others:
                print_indented(console, line, 2)
        return
    if not console.is_terminal:
        console.width = _UNLIMITED
    console.print(table)
