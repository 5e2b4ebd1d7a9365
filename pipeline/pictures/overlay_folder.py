"""Folder of overlays: photographs with their heat maps, as `./graft predict --explain` writes them."""

import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.console.printing import echo
from pipeline.pictures.opening import open_upright
from pipeline.pictures.overlay import draw_overlay
from schema.errors import UsageError
from serving.storage.gfile import is_remote
from serving.storage.regular import read_regular

if TYPE_CHECKING:
    from serving.client.predict import Prediction

_SIDE = 1024  # pixels of an overlay's longer side
_QUALITY = 90  # JPEG quality
_MOST_BYTES = 256 << 20  # of a photograph
_MOST_PIXELS = 150_000_000  # of a photograph; a PNG of this size takes 450 MB
_MOST_NAME = 150  # bytes of a name before its number and ".jpg"


class OverlayFolder(contextlib.AbstractContextManager["OverlayFolder"]):
    """Writer of overlays, which replaces no file; the end of its context removes folders that it made in vain.

    Attributes:
        missing: number of predicted images that have no overlay.
        coarse: sentence for the user if heat maps have few cells; else "".
    """

    def __init__(self, path: str, images: Sequence[str]):
        """Makes the folder, and tries to write into it.

        Args:
            path: folder to write into.
            images: files and folders of the images to explain.
        Raises:
            UsageError: if the folder cannot be written, or lies where overlays would count as images.
        """
        if is_remote(path):
            raise UsageError(f"--explain: {path} is not on this machine. Name a folder here.")
        _check_apart(path, images)
        folder = pathlib.Path(path)
        self._made = [above for above in (folder, *folder.parents) if not os.path.lexists(above)]
        try:
            os.makedirs(path, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise _explain(path, error) from None
        self._path = path
        self._tried: collections.Counter[str] = collections.Counter()
        self.missing = 0
        self.coarse = ""

    def __exit__(self, *error: object) -> None:
        """Removes the folders that `__init__` made and that are still empty: the model was refused, or every image."""
        with contextlib.suppress(OSError):
            for folder in self._made:  # from below
                folder.rmdir()

    def write_all(self, predictions: Iterable["Prediction"]) -> Iterator["Prediction"]:
        """Yields the predictions with the paths of their overlays, one after the other.

        Raises:
            UsageError: if the folder cannot be written.
        """
        for prediction in predictions:
            yield prediction if prediction.problem else self._write(prediction)

    def _write(self, prediction: "Prediction") -> "Prediction":
        if prediction.heat_map:
            self.coarse = prediction.heat_map.coarse
        try:
            encoded = _draw(prediction)
        except Exception as error:  # Pillow's decoders raise many types, and read other files than TensorFlow's
            self.missing += 1
            echo(f"graft: {prediction.path}: no overlay: {error}", err=True)
            return prediction
        return dataclasses.replace(prediction, overlay=self._save(_make_name(prediction.path), encoded))

    def _save(self, name: str, encoded: bytes) -> str:
        """Writes a file under the first free one of `name.jpg`, `name-2.jpg`, and so on."""
        while True:
            self._tried[name] += 1
            number = self._tried[name]
            path = os.path.join(self._path, f"{name}{f'-{number}' if number > 1 else ''}.jpg")
            try:
                with open(path, "xb") as file:
                    file.write(encoded)
                return path
            except FileExistsError:
                continue
            except OSError as error:
                pathlib.Path(path).unlink(missing_ok=True)  # cut off, because the disk is full
                raise _explain(self._path, error) from None


def _draw(prediction: "Prediction") -> bytes:
    if prediction.heat_map is None:
        raise ValueError("the model gave no heat map")
    content = read_regular(prediction.path, _MOST_BYTES)
    upright = prediction.heat_map.view.orientation == "exif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about large images, whose size `open_upright` bounds
        picture = open_upright(content, _SIDE, _MOST_PIXELS, upright)
    file = io.BytesIO()
    draw_overlay(picture, prediction.heat_map).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _make_name(path: str) -> str:
    """Returns the name of an image without its ending, with letters, digits, "_", "-" and "." alone."""
    name = re.sub(r"[^\w.-]", "_", pathlib.PurePath(path).stem).lstrip(".-")
    return name.encode("utf-8")[:_MOST_NAME].decode("utf-8", "ignore") or "image"


def _check_apart(path: str, images: Sequence[str]) -> None:
    """Refuses a folder whose overlays a later command would take for images."""
    folder = pathlib.Path(path).resolve()
    for image in images:
        named = pathlib.Path(image).resolve()
        taken = named if named.is_dir() else named.parent
        if folder == taken or (named.is_dir() and taken in folder.parents):
            raise UsageError(
                f"--explain: {path} lies in {taken}, whose files are images: the overlays would be taken for more of "
                "them. Name another folder."
            )


def _explain(path: str, error: OSError) -> UsageError:
    reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
    return UsageError(f"--explain: {path}: cannot be written: {reason}. Name another folder.")
