"""Suggestions of another folder when the named data folder holds no classes; for folders on this machine."""

import difflib
import os

from components.example_gen.ignored import Ignored
from schema.text import list_some
from serving.storage.gfile import is_remote

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".heic", ".tif", ".tiff"}
_LOOKED_INTO = 200  # folders; above this number no folder is suggested, to bound the work


def suggest_near(data: str) -> str:
    """Suggests the folder whose name is most like that of a missing folder.

    Args:
        data: path of the missing folder.
    Returns:
        A question for the user, or "" if no folder beside `data` has a similar name.
    """
    above, name = os.path.split(os.path.normpath(data))
    close = difflib.get_close_matches(name, _list_folders(above or "."), n=1)
    return f"Did you mean {os.path.join(above, close[0])}?" if close else ""


def suggest_above(data: str) -> str:
    """Suggests the folder above when the named folder is one of its classes.

    Args:
        data: a folder without sub-folders.
    Returns:
        A question for the user, or "" if the folder above holds other things than class folders.
    """
    above = os.path.normpath(os.path.join(data, os.pardir))
    folders = _list_folders(above)
    if not 2 <= len(folders) <= _LOOKED_INTO or not all(_holds_images(os.path.join(above, name)) for name in folders):
        return ""
    return f"Did you mean {above}, with the classes {list_some(folders)}?"


def suggest_below(data: str) -> str:
    """Suggests a folder below when the only sub-folder is no class but holds the class folders.

    Args:
        data: a folder.
    Returns:
        A question for the user, or "" if the sub-folders of `data` may be the classes.
    """
    folder, folders = data, _list_folders(data)
    while len(folders) == 1:
        folder = os.path.join(folder, folders[0])
        folders = _list_folders(folder)
    return f"Did you mean {folder}, with the folders {list_some(folders)}?" if folder != data and folders else ""


def _list_folders(folder: str) -> list[str]:
    """Returns the sorted names of the sub-folders, without hidden and side folders.

    The list is empty if the folder cannot be listed, or is in a store.
    """
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
