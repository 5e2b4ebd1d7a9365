"""EXIF orientation of an image, which ingest counts: from the few parts of a file that may hold it.

Pillow reads a file byte by byte and segment by segment, in minutes where there are millions of them, and decodes a
PNG to look behind its pixels. So it gets an image of one pixel with these parts instead.
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
_MOST_PARTS = 100_000  # segments or chunks to pass over; ingest reads on without an orientation
_LARGEST = 1 << 16  # bytes of a part: the most of a JPEG's segment
_APP1 = 0xE1
_SEGMENTS = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")  # EXIF 2.32, 4.7.2; XMP part 3, 1.1.3
_CHUNKS = re.compile(rb"eXIf|.TXt(Raw profile type exif|XML:com\.adobe\.xmp)\0|tEXtRaw profile type exif\0", re.DOTALL)


def is_oriented(encoded: bytes) -> bool:
    """Tells whether the EXIF or XMP of a JPEG or PNG says that the camera was turned."""
    if encoded.startswith(JPEG):
        parts, frame = _find_segments(encoded), _ONE_PIXEL_JPEG
    elif encoded.startswith(PNG):
        parts, frame = _find_chunks(encoded), _ONE_PIXEL_PNG
    else:
        return False
    first = dict(reversed(list(parts)))  # of each kind the first
    if not first:
        return False
    small = frame[0] + b"".join(first.values()) + frame[1]
    try:
        return bool(Image.open(io.BytesIO(small)).getexif().get(_ORIENTATION, 1) != 1)
    except Exception:  # Pillow's parsers raise many kinds, and TensorFlow has read the image already.
        return False


def _find_segments(jpeg: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Finds the segments of a JPEG's header that hold EXIF or XMP; yields the kind and the whole segment."""
    for code, at, length in itertools.islice(walk_segments(jpeg), _MOST_PARTS):
        if code == SCAN:
            return
        for kind in _SEGMENTS if code == _APP1 else ():
            if jpeg.startswith(kind, at + 2):
                yield kind, b"\xff\xe1" + jpeg[at : at + length]


def _find_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Finds the chunks of a PNG that hold EXIF or XMP, behind its pixels as well; yields the kind and the chunk."""
    at = len(PNG)
    for _ in range(_MOST_PARTS):
        if at + 8 > len(png):
            return
        [length] = struct.unpack_from(">I", png, at)
        if length <= _LARGEST and (kind := _CHUNKS.match(png, at + 4)):
            yield kind[0], png[at : at + 12 + length]
        at += 12 + length


def _split_one_pixel(kind: str, end: bytes) -> tuple[bytes, bytes]:
    """An image of one pixel, in two parts: the first header of its format, and from the first bytes of `end` on."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, kind)
    place = file.getvalue().index(end)
    return file.getvalue()[:place], file.getvalue()[place:]


_ONE_PIXEL_JPEG = _split_one_pixel("JPEG", b"\xff\xdb")
_ONE_PIXEL_PNG = _split_one_pixel("PNG", struct.pack(">I", 10) + b"IDAT")
