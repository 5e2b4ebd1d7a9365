"""Folders of images to measure with: real photographs, of which crops and mirror images make more; or noise.

Images are numbered, and dealt to the classes in turn. A number gives the same image each time, and no two numbers give
the same bytes: a folder grows by new images when it goes on from `first`.
"""

import hashlib
import io
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from serving.process.cores import count_cores

NOISE_CLASSES = ("dark", "light")
_SUFFIXES = {".jpg", ".jpeg"}
_SMALLEST_CROP, _LARGEST_CROP = 0.8, 0.95  # of either side


def write_photographs(folder: pathlib.Path, count: int, source: str | None, first: int = 0) -> None:
    """Writes class folders of different photographs.

    Args:
        folder: where to; may hold others already.
        count: how many to write.
        source: a folder of class folders of JPEGs. What is there is copied first; further ones are made from them.
            None for noise, as large and as heavy as these photographs usually are.
        first: the number to begin with; how many are there already.
    """
    if source is None:
        write_noise(folder, count, first)
        return
    originals = _list_originals(pathlib.Path(source))
    labels = sorted(originals)

    def encode(label: int, index: int) -> bytes:
        paths = originals[labels[label]]
        path = paths[index % len(paths)]
        return path.read_bytes() if index < len(paths) else _vary(path, [label, index])

    _write(folder, labels, range(first, first + count), encode)


def write_noise(
    folder: pathlib.Path, count: int, first: int = 0, size: tuple[int, int] = (500, 375), grain: int = 20
) -> None:
    """Writes two classes of noise, a dark one and a light one.

    Args:
        folder: where to; may hold others already.
        count: how many to write.
        first: the number to begin with.
        size: width and height in pixels.
        grain: side of a grain in pixels. At 20 a file has 23 kB; at 1 and 640x640 pixels it has 250 kB.
    """
    _write(folder, NOISE_CLASSES, range(first, first + count), lambda *seed: _draw_noise(seed, size, grain))


def _write(
    folder: pathlib.Path, labels: Sequence[str], numbers: Sequence[int], encode: Callable[[int, int], bytes]
) -> None:
    """Writes images in as many threads as there are cores; Pillow and NumPy let go of Python's lock."""

    def write(number: int) -> None:
        index, label = divmod(number, len(labels))
        (folder / labels[label] / f"{number:06d}.jpg").write_bytes(encode(label, index))

    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(count_cores()) as pool:
        list(pool.map(write, numbers))  # a list, so that an error comes out


def _list_originals(source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The JPEGs by class, each content once."""
    digests: set[bytes] = set()
    originals: dict[str, list[pathlib.Path]] = {}
    for path in sorted(source.glob("*/**/*")):
        if path.suffix.lower() in _SUFFIXES:
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in digests:
                originals.setdefault(path.relative_to(source).parts[0], []).append(path)
            digests.add(digest)
    if len(originals) < 2:
        raise SystemExit(f"{source}: expected two folders or more with JPEGs inside, found {len(originals)}.")
    return originals


def _vary(path: pathlib.Path, seed: list[int]) -> bytes:
    """A random crop of a photograph, every other one mirrored; the seed in a comment keeps the bytes apart."""
    random = np.random.default_rng(seed)
    with Image.open(path) as image:
        width, height = (round(side * random.uniform(_SMALLEST_CROP, _LARGEST_CROP)) for side in image.size)
        left, top = random.integers(image.width - width + 1), random.integers(image.height - height + 1)
        varied = image.crop((left, top, left + width, top + height))
    if random.integers(2):
        varied = ImageOps.mirror(varied)
    return _encode(varied, quality=90, comment=str(seed))


def _draw_noise(seed: tuple[int, ...], size: tuple[int, int], grain: int) -> bytes:
    label = seed[0]
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 128, (height // grain, width // grain, 3), np.uint8) + 128 * label
    image = Image.fromarray(pixels.astype(np.uint8))
    return _encode(image.resize(size, Image.Resampling.BICUBIC), quality=88)


def _encode(image: Image.Image, **options: int | str) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG", **options)
    return file.getvalue()
