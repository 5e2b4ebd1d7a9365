"""Sums up the files that a run leaves out: by reason, and with the command that converts some of them."""

import collections
import os
from collections.abc import Iterable

from components.example_gen.duplicates import CONTRADICTION
from components.images.formats import CONVERTIBLE
from components.records.quarantine import LeftOut
from schema.text import quote
from serving.storage.gfile import is_remote

_COPY, _RELABELLED = "duplicate of", "labelled"


def group_by_reason(left_out: Iterable[LeftOut]) -> dict[str, list[str]]:
    """Groups paths by a short reason, the most frequent first.

    Args:
        left_out: the files left out.
    """
    groups = collections.defaultdict(list)
    for entry in left_out:
        groups[_shorten(entry.reason)].append(entry.path)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def suggest_conversion(left_out: Iterable[LeftOut], data: str) -> tuple[str, str] | None:
    """Returns a count of the files that can be converted to JPEG, and the command for it; None without such files.

    Args:
        left_out: the files left out.
        data: the data folder; None is returned for a remote one, which must be copied first.
    """
    found = count_convertible(_shorten(entry.reason) for entry in left_out)
    return None if not found or is_remote(data) else (found, write_convert(data))


def count_convertible(formats: Iterable[str]) -> str:
    """Returns a clause such as "2 HEIC and 1 WebP can be read as JPEG"; "" if none of the formats can be converted."""
    counts = collections.Counter(name for name in formats if name in CONVERTIBLE).most_common()
    found = [f"{count} {name}" for name, count in counts]
    return f"{' and '.join(filter(None, [', '.join(found[:-1]), found[-1]]))} can be read as JPEG" if found else ""


def write_convert(folder: str) -> str:
    """Returns the command that converts the images of a folder into a folder beside it."""
    folder = folder.rstrip("/") or "/"
    named = os.path.abspath(folder) if os.path.basename(folder) in (".", "..") else folder
    return f"./graft convert {quote(folder)} {quote(named + '-jpeg')}"


def _shorten(reason: str) -> str:
    if reason.startswith(_COPY):
        return "copy of another image"
    if reason.startswith(CONTRADICTION):
        return "the same image in two classes"
    if reason.startswith(_RELABELLED):
        return "in another class since"
    if "max_megapixels" in reason:
        return "larger than max_megapixels"
    return reason.split("; ")[0].split(": ")[0]
