"""Errors that a user can cause; each message names the value, the expected value and the remedy.

This package is the lowest layer, so that every other layer can raise these errors.
"""

from schema.text import printable


class GraftError(Exception):
    """Error that the user can act on; printed without a traceback."""

    exit_code = 1

    def __init__(self, *lines: str):
        """Takes the lines of the message, and escapes control characters and line breaks in each line."""
        super().__init__(*(printable(str(line)) for line in lines))

    def __str__(self) -> str:
        """Returns the message: the lines joined by line breaks."""
        return "\n".join(self.args)


class UsageError(GraftError):
    """Error in the command line or configuration."""

    exit_code = 2


class DataError(GraftError):
    """Error in the data: damaged files, an unknown or missing class, too few images."""

    exit_code = 3


def describe_error(error: GraftError) -> str:
    """Returns the message for printing, with "graft: " before each line that is not indented."""
    return "\n".join(line if line.startswith(" ") else f"graft: {line}" for line in str(error).split("\n"))
