"""Guesses which folder a user meant, where the one that was named holds no classes. For folders of this machine."""

import difflib
import os

from components.example_gen.ignored import Ignored
from schema.text import list_some
from serving.storage.gfile import is_remote

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".heic", ".tif", ".tiff"}
_LOOKED_INTO = 200  # folders; a hint need not be right on a disk with more


def suggest_near(data: str) -> str:
    """Returns a question that names a folder with a name like the missing one's; "" if there is none."""
    above, name = os.path.split(os.path.normpath(data))
    close = difflib.get_close_matches(name, _list_folders(above or "."), n=1)
    return f"Did you mean {os.path.join(above, close[0])}?" if close else ""


def suggest_above(data: str) -> str:
    """Returns a question that names the folder above, where the one that was named is a class of it; else ""."""
    above = os.path.normpath(os.path.join(data, os.pardir))
    folders = _list_folders(above)
    if not 2 <= len(folders) <= _LOOKED_INTO or not all(_holds_images(os.path.join(above, name)) for name in folders):
        return ""
    return f"Did you mean {above}, with the classes {list_some(folders)}?"


def suggest_below(data: str) -> str:
    """Returns a question that names the folder below, where the only folder is no class but holds them; else ""."""
    folder, folders = data, _list_folders(data)
    while len(folders) == 1:
        folder = os.path.join(folder, folders[0])
        folders = _list_folders(folder)
    return f"Did you mean {folder}, with the folders {list_some(folders)}?" if folder != data and folders else ""


def _list_folders(folder: str) -> list[str]:
    """Returns the names of the sub-folders, sorted, without hidden and side ones; none of what cannot be listed."""
    if is_remote(folder):
        return []
    ignored = Ignored()
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not ignored.passes_over_folder(e.name))
    except OSError:
        return []


def _holds_images(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(os.path.splitext(entry.name)[1].lower() in _IMAGE_SUFFIXES for entry in entries)
    except OSError:
        return False
