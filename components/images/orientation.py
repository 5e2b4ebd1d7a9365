"""EXIF orientation of an image; ingest counts the images with one.

Pillow walks through a file segment by segment, which takes minutes for millions of segments, and decodes a PNG to read
the chunks behind the pixels. So Pillow gets an image of one pixel with only those parts that may hold an orientation.
"""

import io
import itertools
import re
import struct
from collections.abc import Iterator

from PIL import Image

from components.images.formats import JPEG, PNG
from components.images.jpeg_segments import SCAN, walk_segments

_ORIENTATION = 274  # tag 0x0112 of EXIF 2.32
_MOST_PARTS = 100_000  # segments or chunks to read; the orientation of a longer file is not found
_LARGEST = 1 << 16  # bytes of a part: the largest segment of a JPEG
_APP1 = 0xE1
_SEGMENTS = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")  # EXIF 2.32, 4.7.2; XMP part 3, 1.1.3
_CHUNKS = re.compile(rb"eXIf|.TXt(Raw profile type exif|XML:com\.adobe\.xmp)\0|tEXtRaw profile type exif\0", re.DOTALL)


def is_oriented(encoded: bytes) -> bool:
    """Returns True if the EXIF or XMP data of a JPEG or PNG holds an orientation other than upright."""
    if encoded.startswith(JPEG):
        parts, frame = _find_segments(encoded), _ONE_PIXEL_JPEG
    elif encoded.startswith(PNG):
        parts, frame = _find_chunks(encoded), _ONE_PIXEL_PNG
    else:
        return False
    first = dict(reversed(list(parts)))  # the first part of each kind
    if not first:
        return False
    small = frame[0] + b"".join(first.values()) + frame[1]
    try:
        return bool(Image.open(io.BytesIO(small)).getexif().get(_ORIENTATION, 1) != 1)
    except Exception:  # Pillow's parsers raise many classes; TensorFlow has already decoded the image.
        return False


def _find_segments(jpeg: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the segments of a JPEG's header that hold EXIF or XMP data, as (kind, whole segment)."""
    for code, at, length in itertools.islice(walk_segments(jpeg), _MOST_PARTS):
        if code == SCAN:
            return
        for kind in _SEGMENTS if code == _APP1 else ():
            if jpeg.startswith(kind, at + 2):
                yield kind, b"\xff\xe1" + jpeg[at : at + length]


def _find_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the chunks of a PNG that hold EXIF or XMP data, as (kind, whole chunk); also those behind the pixels."""
    at = len(PNG)
    for _ in range(_MOST_PARTS):
        if at + 8 > len(png):
            return
        [length] = struct.unpack_from(">I", png, at)
        if length <= _LARGEST and (kind := _CHUNKS.match(png, at + 4)):
            yield kind[0], png[at : at + 12 + length]
        at += 12 + length


def _split_one_pixel(kind: str, end: bytes) -> tuple[bytes, bytes]:
    """Encodes an image of one pixel; returns the bytes before the first occurrence of `end`, and the rest."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, kind)
    place = file.getvalue().index(end)
    return file.getvalue()[:place], file.getvalue()[place:]


_ONE_PIXEL_JPEG = _split_one_pixel("JPEG", b"\xff\xdb")
_ONE_PIXEL_PNG = _split_one_pixel("PNG", struct.pack(">I", 10) + b"IDAT")
