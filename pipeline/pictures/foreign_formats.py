"""Formats that TensorFlow does not read, among the images that a user asks a model for."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from components.images.formats import CONVERTIBLE, READABLE, name_format
from pipeline.check.left_out import count_convertible, write_convert
from serving.client.refusals import NO_IMAGE

if TYPE_CHECKING:
    from serving.client.predict import Prediction

_HEAD = 64  # bytes that `name_format` needs


class ForeignFormats:
    """Names the formats of refused images, and the command that converts them."""

    def __init__(self, named: Sequence[str]):
        """Takes the files and folders that the user named."""
        self._folders = [name for name in named if os.path.isdir(name)]
        self._found: list[tuple[str, str]] = []  # path and format of each image that `./graft convert` reads

    def name_all(self, predictions: Iterable["Prediction"]) -> Iterator["Prediction"]:
        """Yields the predictions; the problem of what is no image for TensorFlow begins with its format."""
        for prediction in predictions:
            yield self._name(prediction) if prediction.problem == NO_IMAGE else prediction

    def suggest_conversion(self) -> str:
        """Returns a count of the images that can be converted and the command for it, or ""."""
        found = count_convertible(kind for _, kind in self._found)
        return found and f"{found}: {self._write_command()}"

    def _name(self, prediction: "Prediction") -> "Prediction":
        try:
            with open(prediction.path, "rb") as file:
                kind = name_format(file.read(_HEAD))
        except OSError:  # gone meanwhile
            return prediction
        if kind in CONVERTIBLE:
            self._found.append((prediction.path, kind))
        expected = ", ".join(READABLE.values())
        return dataclasses.replace(prediction, problem=f"{kind}; expected one of {expected}")

    def _write_command(self) -> str:
        folders = {self._find_folder(path) for path, _ in self._found}
        return write_convert(folders.pop()) if len(folders) == 1 else "./graft convert FOLDER FOLDER-jpeg"

    def _find_folder(self, path: str) -> str:
        """Returns the folder that the user named, if the image was listed from one, else the image's own folder."""
        named = (folder for folder in self._folders if path.startswith(os.path.join(folder, "")))
        return next(named, os.path.dirname(path) or ".")
