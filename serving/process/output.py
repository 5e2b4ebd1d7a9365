"""Prints, whatever names are in it and whatever the encoding: nothing that is printed commands a terminal."""

import contextlib
import io
import logging
import sys
from typing import TextIO

from schema.text import escape_json, printable, printable_lines


def make_streams_safe() -> None:
    """Lets the standard streams escape what their encoding has no character for, where Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # of a file that another has taken the place of; it is set all the same
                stream.reconfigure(errors="backslashreplace")


def echo(*lines: str, err: bool = False, file: TextIO | None = None) -> None:
    """Prints lines; whatever names are in a line, it stays one line.

    Args:
        lines: without line breaks.
        err: to the standard error.
        file: another stream.
    """
    print("\n".join(map(printable, lines)), file=file or (sys.stderr if err else sys.stdout), flush=True)


def echo_json(document: str, file: TextIO | None = None) -> None:
    """Prints a JSON document; the names in it stay what they are, in JSON's own escapes where need be."""
    stream = file or sys.stdout
    print(escape_json(document, stream.encoding or "utf-8"), file=stream, flush=True)


class PrintableFormatter(logging.Formatter):
    """A log format whose records command no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record; a name in it may make lines, but nothing else."""
        return printable_lines(super().format(record))
