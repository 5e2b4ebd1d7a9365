"""Counts of the ignored files and folders of a data folder, by kind.

Side files and side folders are those that people and their computers leave beside images. Any other file in a class
folder counts as an image: a run quarantines the file by name if it cannot be decoded.
"""

import collections
import os
from collections.abc import Mapping

from serving.storage.regular import name_irregular

HIDDEN_FILE, SIDE_FILE, LOOSE_FILE = "hidden file", "side file", "file beside the class folders"
HIDDEN_FOLDER, SIDE_FOLDER = "hidden folder", "folder that a computer made"
EMPTY_FOLDER, OUTSIDE_WINDOW, LOOP = "folder without an image", "date folder outside the window", "link that leads back"
LINK_OUTSIDE, LINK_AGAIN = "link out of the data folder, for follow_links is off", "link to what is read already"
PIPE, SOCKET, DEVICE = (f"{kind}, which is no file" for kind in ("named pipe", "socket", "device"))

# Names, in lower case, of files from Windows and its photo viewers, macOS (an icon's name ends in a carriage return),
# Synology and Zoner, and of the texts beside a data set.
_SIDE_FILES = {
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "synoindex_media_info",
    "zbthumbnail.info",
    "license",
    "readme",
}
# Suffixes of lists and notes; of photo editors' settings (Adobe, Apple, RawTherapee, darktable, DxO); of checksums; of
# links and logs.
_SIDE_SUFFIXES = {
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".html", ".ini", ".yaml", ".yml", ".toml"),
    *(".xmp", ".aae", ".pp3", ".dop"),
    *(".md5", ".sha1", ".sha256", ".sfv"),
    *(".url", ".lnk", ".webloc", ".log"),
}
# Names, in lower case, of folders that unpacking (macOS), a NAS (Synology), fsck and Windows create.
_SIDE_FOLDERS = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
_PLURALS = {
    LOOSE_FILE: "files beside the class folders",
    SIDE_FOLDER: "folders that a computer made",
    EMPTY_FOLDER: "folders without an image",
    OUTSIDE_WINDOW: "date folders outside the window",
    LOOP: "links that lead back",
    LINK_OUTSIDE: "links out of the data folder, for follow_links is off",
    LINK_AGAIN: "links to what is read already",
    PIPE: "named pipes, which are no files",
    SOCKET: "sockets, which are no files",
    DEVICE: "devices, which are no files",
}
_SHOWN = 5  # names of a kind in a phrase
_NAMES = 1000  # names of a kind with a count of their own
_OTHERS = "others"


class Ignored:
    """Counts of ignored files and folders by kind and name; most files count under the suffix of their name."""

    def __init__(self) -> None:
        """Starts with no counts."""
        self.counts: dict[str, collections.Counter[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Adds one to the count of a name; after 1,000 names of a kind, further names count as "others"."""
        counter = self.counts.setdefault(kind, collections.Counter())
        counter[name if name in counter or len(counter) < _NAMES else _OTHERS] += 1

    def passes_over_file(self, name: str) -> bool:
        """Returns whether a run ignores a file of this name; counts the file if so."""
        kind = _find_kind_of_file(name)
        if kind:
            self.add(kind, _shorten(name))
        return bool(kind)

    def passes_over_folder(self, name: str) -> bool:
        """Returns whether a run ignores a folder of this name; counts the folder if so."""
        kind = _find_kind_of_folder(name)
        if kind:
            self.add(kind, name)
        return bool(kind)

    def add_loose_file(self, name: str) -> None:
        """Counts a file beside the class folders."""
        self.add(LOOSE_FILE, _shorten(name))


def name_irregular_kind(mode: int) -> str:
    """Returns `PIPE`, `SOCKET` or `DEVICE`.

    Args:
        mode: `st_mode` of a directory entry that is neither a file nor a folder.
    """
    return f"{name_irregular(mode).removeprefix('a ') or 'device'}, which is no file"


def is_passed_over(name: str) -> bool:
    """Returns whether a run ignores a file of this name."""
    return bool(_find_kind_of_file(name))


def describe(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns a phrase for each kind: "61 side files (60 .xmp, 1 thumbs.db)".

    Args:
        counts: counts by kind and name, as `Ignored.counts`.
    """
    return [_describe_kind(kind, by_name) for kind, by_name in counts.items()]


def _describe_kind(kind: str, by_name: Mapping[str, int]) -> str:
    total = sum(by_name.values())
    ranked = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))
    names = [name if count == total or count == 1 else f"{count} {name}" for name, count in ranked[:_SHOWN]]
    if len(ranked) > _SHOWN:
        names.append(f"{sum(count for _, count in ranked[_SHOWN:])} others")
    return f"{total} {kind if total == 1 else _PLURALS.get(kind, f'{kind}s')} ({', '.join(names)})"


def _find_kind_of_file(name: str) -> str:
    lower = name.lower()
    if name.startswith("."):
        return HIDDEN_FILE
    return SIDE_FILE if lower in _SIDE_FILES or os.path.splitext(lower)[1] in _SIDE_SUFFIXES else ""


def _find_kind_of_folder(name: str) -> str:
    if name.startswith("."):
        return HIDDEN_FOLDER
    return SIDE_FOLDER if name.lower() in _SIDE_FOLDERS else ""


def _shorten(name: str) -> str:
    """Returns the suffix of a file's name in lower case; the whole name if it has no suffix or is in `_SIDE_FILES`."""
    lower = name.lower()
    if lower.startswith("._"):  # macOS writes such a file where the disk has no place for a file's attributes
        return "._*"
    return lower.strip() if lower in _SIDE_FILES else os.path.splitext(lower)[1] or name
