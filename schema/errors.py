"""The errors that a user can cause. Each message says what came, what was expected and what to do.

They live in the lowest layer, so that every other one may raise them.
"""


class GraftError(Exception):
    """Something that the user can act on; printed without a traceback."""

    exit_code = 1


class UsageError(GraftError):
    """Bad usage or configuration."""

    exit_code = 2


class DataError(GraftError):
    """Bad data: broken files, an unknown or a vanished class, too few images."""

    exit_code = 3


def describe_error(error: GraftError) -> str:
    """The message as it is printed: each line says who speaks, but for the indented ones."""
    return "\n".join(line if line.startswith(" ") else f"graft: {line}" for line in str(error).splitlines())
