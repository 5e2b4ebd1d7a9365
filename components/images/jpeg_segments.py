"""Segments of a JPEG, found without TensorFlow and without reading the bytes between them one by one."""

import re
from collections.abc import Iterator

# A marker that has a segment: no stuffed or fill byte, no TEM, RST or SOI (ITU-T T.81, table B.1).
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
SCAN, _END = 0xDA, 0xD9


def walk_segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Walks from segment to segment to the end of the image.

    Yields:
        The code of the marker, the place of the length behind it, and the length, which counts itself; all in bytes.
    """
    at = 2
    while (marker := _MARKER.search(jpeg, at)) and marker[1][0] != _END:
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
        yield marker[1][0], marker.end(), length
        at = marker.end() + length
