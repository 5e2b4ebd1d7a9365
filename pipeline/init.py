"""Writes the first `graft.toml`."""

import collections
import os

from components.layout import list_images
from pipeline import CONFIG_FILE
from pipeline.reference import render_template
from schema.errors import UsageError


def write_template(file: str, data: str | None) -> str:
    """Writes a commented configuration file.

    Args:
        file: its path; must not be there yet.
        data: folder of labelled images to name in it, or None.
    Returns:
        What to say to the user: what was found, and what to do next.
    Raises:
        UsageError: if the file is there, or cannot be written.
        DataError: if `data` is not a folder of labelled images.
    """
    found, counts = "", collections.Counter[str]()
    named = None
    if data:
        counts = collections.Counter(f.label for f in list_images(data).files)
        found = f"{data}: {counts.total()} files in {len(counts)} classes: {_list(counts)}\n"
        named = data if os.path.isabs(data) else os.path.relpath(data, os.path.dirname(file) or ".")
    try:
        with open(file, "x", encoding="utf-8") as target:
            target.write(render_template(named, sorted(counts)))
    except FileExistsError:
        raise UsageError(f"{file}: is there already. Remove it, or name another with --config FILE.") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}. Name another with --config FILE.") from None
    return f"{found}Wrote {file}. {_next_step(file, data)}"


def _list(counts: collections.Counter[str]) -> str:
    shown = ", ".join(f"{label} {count}" for label, count in sorted(counts.items())[:10])
    return shown + (", ..." if len(counts) > 10 else "")


def _next_step(file: str, data: str | None) -> str:
    command = "./graft run" + ("" if file == CONFIG_FILE else f" --config {file}")
    return f"Next: {command}" if data else f"Set data in it, then: {command}"
