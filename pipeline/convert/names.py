"""Chooses the names of converted images: unchanged where possible, and distinct on every file system."""

import collections
import os
import unicodedata
from collections.abc import Iterable, Mapping

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp"}
_OF_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
_OF_READABLE = {".png", ".gif", ".bmp", ".dib"}
_OF_CONVERTED = {
    *{".webp", ".heic", ".heif", ".hif", ".avif", ".tif", ".tiff"},
    *{".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".pbm", ".pgm", ".ppm", ".pnm"},
}


def choose_targets(copied: Mapping[str, str]) -> dict[str, str]:
    """Chooses a name for each file: photo.heic becomes photo.jpg.

    Files of a folder that would get the same name, apart from case, keep their extension in it: a.heic.jpg. A file that
    can keep its name has precedence. The result does not depend on the order of the files.

    Args:
        copied: format of each file to copy, such as "PNG", by relative path; "" for a file to convert to JPEG.
    Returns:
        New path by old path, in the same folder.
    """
    wanted = {path: _replace_suffix(path, kind) for path, kind in copied.items()}
    counts = collections.Counter(map(_key, wanted.values()))
    taken = _list_folders(copied)
    targets = {}
    for path in sorted(wanted, key=lambda path: (wanted[path] != path, path)):
        name = wanted[path]
        if _key(name) in taken or (name != path and counts[_key(name)] > 1):
            name = _find_free(path, _SUFFIXES[copied[path] or "JPEG"], taken)
        taken.add(_key(name))
        targets[path] = name
    return targets


def _replace_suffix(path: str, copied: str) -> str:
    """Replaces an extension that would mislead other programs; an unknown extension is a part of the name."""
    stem, suffix = os.path.splitext(path)
    suffix = suffix.lower()
    if copied:  # Graft decides by the first bytes, so a JPEG named .gif keeps its name
        return stem + _SUFFIXES[copied] if suffix in _OF_CONVERTED else path
    if suffix in _OF_JPEG:
        return path
    return (stem if suffix in _OF_CONVERTED | _OF_READABLE else path) + _SUFFIXES["JPEG"]


def _find_free(path: str, suffix: str, taken: set[tuple[str, str]]) -> str:
    """Returns the path with the extension appended, and with a number from 2 on if that name is taken."""
    name, number = path + suffix, 1
    while _key(name) in taken:
        number += 1
        name = f"{path}-{number}{suffix}"
    return name


def _key(path: str) -> tuple[str, str]:
    """Returns folder and name, equal for names that differ in case or in the form of Unicode alone."""
    folder, name = os.path.split(path)
    return folder, unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _list_folders(paths: Iterable[str]) -> set[tuple[str, str]]:
    """Returns the keys of all folders above some files, which no file can have as its name."""
    folders = set()
    for path in paths:
        while path := os.path.dirname(path):
            folders.add(_key(path))
    return folders
