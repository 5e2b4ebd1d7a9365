"""Writes a new `graft.toml`, for `./graft init`."""

import os
from collections.abc import Sequence

from pipeline import CONFIG_FILE
from pipeline.config.reference import render_minimal, render_template
from schema.errors import UsageError
from schema.text import quote
from serving.storage.gfile import is_remote


def check_new(file: str) -> None:
    """Refuses to overwrite a file.

    Raises:
        UsageError: if the file exists.
    """
    if os.path.lexists(file):
        raise UsageError(f"{file}: is there already. Remove it, or name another with --config FILE.")


def write_template(file: str, data: str | None, classes: Sequence[str] = (), minimal: bool = False) -> None:
    """Writes a commented configuration file.

    Args:
        file: path of the file; it must not exist.
        data: value of the key `data`, or None.
        classes: example for the key `classes`.
        minimal: whether to leave out the keys that have a default.
    Raises:
        UsageError: if the file exists, or cannot be written.
    """
    named = data
    if data and not os.path.isabs(data) and not is_remote(data):
        named = os.path.relpath(data, os.path.dirname(file) or ".")
    try:
        with open(file, "x", encoding="utf-8") as target:
            target.write(render_minimal(named) if minimal else render_template(named, classes))
    except FileExistsError:
        check_new(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}. Name another with --config FILE.") from None


def describe_next(file: str, data: str | None) -> list[str]:
    """Returns the lines that name the written file and the next command."""
    command = "./graft run" + ("" if file == CONFIG_FILE else f" --config {quote(file)}")
    next_step = f"Next:     {command}" if data else f"Set data in it, then: {command}"
    return [f"Wrote:    {file}", next_step]
