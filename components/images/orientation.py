"""EXIF orientation of a file in plain Python, for programs without TensorFlow.

It is the orientation that the preprocessing graph finds: `exif`, `jpeg_header` and `png_exif` have the same rules.
"""

import itertools
import struct

from components.images.formats import (
    EXIF,
    EXIF_ENTRY,
    EXIF_ORIENTATION,
    EXIF_SHORT,
    JPEG,
    JPEG_FRAMES,
    MAX_CHUNKS,
    PNG,
    UPRIGHT,
)
from components.images.jpeg_segments import walk_segments

_APP1 = 0xE1
_MOST_SEGMENTS = 100_000  # the orientation behind them is not found
_FIRST_CHUNK = 33  # offset of the chunk behind a PNG's header


def read_orientation(encoded: bytes) -> int:
    """Reads the EXIF orientation of an image, without decoding the image.

    Args:
        encoded: content of the file.
    Returns:
        1 to 8; 1 (upright) if there is no orientation, or a malformed one.
    """
    if encoded.startswith(JPEG):
        return _parse(_find_segment(encoded))
    return _parse(_find_chunk(encoded)) if encoded.startswith(PNG) else UPRIGHT


def _find_segment(jpeg: bytes) -> bytes:
    """Returns the content of the first EXIF segment before the frame header; b"" if there is none."""
    for code, at, length in itertools.islice(walk_segments(jpeg), _MOST_SEGMENTS):
        if code in JPEG_FRAMES:
            break
        if code == _APP1 and jpeg.startswith(EXIF, at + 2):
            return jpeg[at + 2 + len(EXIF) : at + length]
    return b""


def _find_chunk(png: bytes) -> bytes:
    """Returns the content of the first EXIF chunk before the pixels; b"" if there is none."""
    at = _FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if name in (b"eXIf", b"IDAT"):
            return png[at + 8 : at + 8 + length] if name == b"eXIf" else b""
        at += 12 + length
    return b""


def _parse(exif: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if not order or len(exif) < 8:
        return UPRIGHT
    [at] = struct.unpack_from(f"{order}I", exif, 4)
    if at + 2 > len(exif):
        return UPRIGHT
    [number] = struct.unpack_from(f"{order}H", exif, at)
    for entry in range(min(number, (len(exif) - at - 2) // EXIF_ENTRY)):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + entry * EXIF_ENTRY)
        if tag == EXIF_ORIENTATION:
            return int(value) if kind == EXIF_SHORT and count == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
