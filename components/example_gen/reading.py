"""Reading and decoding of image files into records, by the rules that serving applies."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import tensorflow as tf

from components import progress
from components.example_gen import layout
from components.example_gen.decode_cache import DecodedImages
from components.example_gen.decode_trial import find_reason, try_to_decode
from components.example_gen.duplicates import Record
from components.images.formats import TRANSPOSED, UNFINISHED
from components.records.quarantine import GONE
from serving.process.cores import count_cores
from serving.storage.gfile import REQUESTS_AT_ONCE, is_remote
from serving.storage.regular import read_regular
from serving.storage.threads import map_in_threads


def read_images(
    files: Sequence[layout.ImageFile],
    data: str,
    max_megapixels: float,
    total: int,
    decoded: DecodedImages | None = None,
    orientation: str = "exif",
) -> list[Record]:
    """Reads and decodes files in threads, which run at once because TensorFlow releases Python's lock.

    There is one thread a core, and more for a store, where most of the time is waiting. Memory holds one file and its
    decoded image a thread.

    Args:
        files: images to read.
        data: folder that the paths of the images are relative to.
        max_megapixels: as for `read_image`.
        total: number of files that all workers read, for the progress.
        decoded: decode cache; images that the cache lacks are added.
        orientation: "exif" for the sizes of the upright images, "ignore" for the sizes as stored.
    Returns:
        A record of each file, in the same order.
    """

    def read(file: layout.ImageFile) -> Record:
        record = read_image(file, data, max_megapixels, decoded)
        progress.report("images read", 1, total)
        return record

    records = map_in_threads(read, files, REQUESTS_AT_ONCE if is_remote(data) else count_cores())
    if decoded:
        decoded.add(records)
    return [_turn_upright(record) for record in records] if orientation == "exif" else records


def read_image(
    file: layout.ImageFile, data: str, max_megapixels: float, decoded: DecodedImages | None = None
) -> Record:
    """Reads and decodes one file as serving does.

    Args:
        file: image to read.
        data: folder that the path of the image is relative to.
        max_megapixels: upper bound of an image, in millions of pixels.
        decoded: decode cache.
    Returns:
        Record of the file, with the size as stored; broken, with the reason, if a server could not decode the image.
    """
    record = Record(file.path, file.label, file.span, file.split, file.size)
    if file.path.lower().endswith(UNFINISHED):
        return _broken(record, "unfinished download; bring the whole file, or remove it")
    path = os.path.join(data, file.path)
    try:
        encoded = tf.io.gfile.GFile(path, "rb").read() if is_remote(path) else read_regular(path)
    except (tf.errors.NotFoundError, FileNotFoundError):
        return _broken(record, "a link to nowhere" if os.path.islink(path) else GONE)
    except OSError as error:
        return _broken(record, f"cannot be read: {error.strerror}")
    except tf.errors.OpError as error:
        return _broken(record, f"cannot be read: {find_reason(error)}")
    record = dataclasses.replace(record, digest=hashlib.sha256(encoded).hexdigest())
    known = decoded.find(record.digest) if decoded else None
    try:
        width, height, brightness, orientation = known or try_to_decode(encoded, max_megapixels)
    except ValueError as error:
        return _broken(record, str(error))
    if (megapixels := width * height / 1e6) > max_megapixels:
        claimed = f"{width} x {height} pixels are {round(megapixels, 2):g} megapixels"
        return _broken(record, f"{claimed}; max_megapixels allows {max_megapixels:g}")
    return dataclasses.replace(record, orientation=orientation, width=width, height=height, brightness=brightness)


def _turn_upright(record: Record) -> Record:
    """Swaps width and height if the orientation does so."""
    if record.orientation not in TRANSPOSED:
        return record
    return dataclasses.replace(record, width=record.height, height=record.width)


def _broken(record: Record, problem: str) -> Record:
    return dataclasses.replace(record, problem=problem, broken=True)
