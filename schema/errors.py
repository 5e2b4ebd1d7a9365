"""The errors that a user can cause. Each message says what came, what was expected and what to do.

They live in the lowest layer, so that every other one may raise them.
"""

from schema.text import printable


class GraftError(Exception):
    """Something that the user can act on; printed without a traceback."""

    exit_code = 1

    def __init__(self, *lines: str):
        """Takes the lines of the message. Whatever names are in a line, it stays one line and commands no terminal."""
        super().__init__(*(printable(str(line)) for line in lines))

    def __str__(self) -> str:
        """Returns the message."""
        return "\n".join(self.args)


class UsageError(GraftError):
    """Bad usage or configuration."""

    exit_code = 2


class DataError(GraftError):
    """Bad data: broken files, an unknown or a vanished class, too few images."""

    exit_code = 3


def describe_error(error: GraftError) -> str:
    """The message as it is printed: each line says who speaks, but for the indented ones."""
    return "\n".join(line if line.startswith(" ") else f"graft: {line}" for line in str(error).split("\n"))
