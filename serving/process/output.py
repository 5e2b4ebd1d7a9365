"""Printing of lines, JSON and log records with control characters escaped, in any encoding."""

import contextlib
import io
import logging
import sys
from typing import TextIO

from schema.text import escape_json, printable, printable_lines


def make_streams_safe() -> None:
    """Makes the standard streams escape characters that their encoding lacks, where Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a replaced file may fail to flush; the setting is made all the same
                stream.reconfigure(errors="backslashreplace")


def echo(*lines: str, err: bool = False, file: TextIO | None = None) -> None:
    """Prints lines, with control characters and line breaks in a line escaped.

    Args:
        lines: lines without line breaks at their ends.
        err: True for the standard error, False for the standard output.
        file: stream in place of the standard ones.
    """
    print("\n".join(map(printable, lines)), file=file or (sys.stderr if err else sys.stdout), flush=True)


def echo_json(document: str, file: TextIO | None = None) -> None:
    """Prints a JSON document, with unprintable characters in the escapes of JSON, which keep the names intact."""
    stream = file or sys.stdout
    print(escape_json(document, stream.encoding or "utf-8"), file=stream, flush=True)


class PrintableFormatter(logging.Formatter):
    """Log formatter that escapes control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record and escapes its control characters, except line breaks."""
        return printable_lines(super().format(record))
