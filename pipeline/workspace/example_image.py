"""Finds a real image for printed commands, so that a user can copy them unchanged."""

import os

from components.example_gen.ignored import Ignored
from serving.storage.gfile import is_remote

PLACEHOLDER = "IMAGE"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}


def find_image(data: str) -> str:
    """Returns the path of the first image below a local folder; `PLACEHOLDER` if there is none."""
    if not data or is_remote(data):
        return PLACEHOLDER
    ignored = Ignored()
    for folder, folders, names in os.walk(data):
        folders[:] = sorted(name for name in folders if not ignored.passes_over_folder(name))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in _SUFFIXES and not ignored.passes_over_file(name):
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    return path
    return PLACEHOLDER
