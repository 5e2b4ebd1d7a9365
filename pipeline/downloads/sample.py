"""Sample data, written as class folders."""

import collections
import contextlib
import pathlib
import re
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.downloads import download
from schema.errors import UsageError

_WHITE = 16  # scikit-learn's pixels are 0 to 16

_CATS_AND_DOGS = "cats_and_dogs_filtered.zip"
_URL = "https://storage.googleapis.com/mledu-datasets/" + _CATS_AND_DOGS
_SUBFOLDER = "datasets"  # of Keras' cache
_MEMBER = re.compile(r"cats_and_dogs_filtered/(train|validation)/(cats|dogs)/((?:cat|dog)\.[0-9]+\.jpg)")
# Number of images in the archive, by split and class. No checksum of the archive is published.
_IMAGES = {
    ("train", "cats"): 1000,
    ("train", "dogs"): 1000,
    ("validation", "cats"): 500,
    ("validation", "dogs"): 500,
}
_MAX_IMAGE_BYTES = 1_000_000  # an image has 20 kB or so


def write_digits(folder: str) -> int:
    """Writes the images inside scikit-learn (UCI's optical recognition of handwritten digits) as PNG files.

    Args:
        folder: a new folder, or an empty one.
    Returns:
        The number of images: 1797, 8x8 pixels, grayscale, in the folders 0 to 9.
    Raises:
        UsageError: if the folder is not empty or cannot be written.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    with _stage(folder) as staging:
        for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            (staging / str(label)).mkdir(exist_ok=True)
            uint8_pixels = np.round(pixels * 255 / _WHITE).astype(np.uint8)
            Image.fromarray(uint8_pixels).save(staging / str(label) / f"{index:04d}.png")
    return len(digits.target)


def write_cats_and_dogs(folder: str) -> int:
    """Writes the photographs of the archive `cats_and_dogs_filtered`, a part of Kaggle's Dogs vs. Cats (Asirra).

    The archive (68 MB) is downloaded once, into Keras' cache. Its train and validation images are merged, because
    Graft makes its own splits.

    Args:
        folder: a new folder, or an empty one.
    Returns:
        The number of images: 3000, in the folders cats and dogs.
    Raises:
        UsageError: if the folder is not empty or cannot be written, or the archive is missing or damaged.
    """
    with _stage(folder) as staging:
        path = _fetch_archive()
        try:
            with zipfile.ZipFile(path) as archive:
                return _extract(archive, staging)
        # Errors of a damaged archive; reading a member checks its CRC.
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path}: not the archive that was expected ({error}). Delete it and try again; it comes from {_URL}"
            ) from None


@contextlib.contextmanager
def _stage(folder: str) -> Iterator[pathlib.Path]:
    """Yields a temporary folder, and renames it at the end: the folder appears complete or not at all."""
    target = pathlib.Path(folder).absolute()
    staging = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{folder}: is there already. Name a new folder.")
        staging.mkdir(parents=True)
        yield staging
        staging.rename(target)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}. Name another folder.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch_archive() -> pathlib.Path:
    try:
        return download.fetch(_URL, _CATS_AND_DOGS, _SUBFOLDER)
    except download.FetchError as error:
        raise UsageError(
            f"The photographs of cats and dogs cannot be fetched ({error}). Download {_URL} by hand to "
            f"{download.CACHE / _SUBFOLDER / _CATS_AND_DOGS}, or take images that need no network: "
            "./graft sample digits DIR"
        ) from None


def _extract(archive: zipfile.ZipFile, folder: pathlib.Path) -> int:
    """Writes the images of the archive as folder/<class>/<name>; returns their number."""
    images = _list_images(archive)
    for (label, name), member in images.items():
        (folder / label).mkdir(exist_ok=True)
        (folder / label / name).write_bytes(archive.read(member))
    return len(images)


def _list_images(archive: zipfile.ZipFile) -> dict[tuple[str, str], zipfile.ZipInfo]:
    """Returns the images by class and file name.

    Raises:
        ValueError: if the archive has other images than expected, or a path that leaves the folder.
    """
    images = {}
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for member in archive.infolist():
        name = pathlib.PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"it leads out of its folder: {name}")
        if match := _MEMBER.fullmatch(member.filename):
            if member.file_size > _MAX_IMAGE_BYTES:
                raise ValueError(f"{name} has {member.file_size} bytes")
            images[match[2], match[3]] = member
            counts[match[1], match[2]] += 1
    for place, expected in _IMAGES.items():
        if counts[place] != expected:
            raise ValueError(f"expected {expected} images in {'/'.join(place)}, found {counts[place]}")
    if len(images) != counts.total():
        raise ValueError("the same file name comes twice")
    return images
