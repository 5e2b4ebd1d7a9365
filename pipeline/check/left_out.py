"""Sums up the files that a run leaves out: by reason, and with the command that converts some of them."""

import collections
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
    formats = collections.Counter(_shorten(entry.reason) for entry in left_out)
    found = [f"{count} {name}" for name, count in formats.most_common() if name in CONVERTIBLE]
    if not found or is_remote(data):
        return None
    listed = " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
    folder = data.rstrip("/")
    return f"{listed} can be read as JPEG", f"./graft convert {quote(folder)} {quote(folder + '-jpeg')}"


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
