"""Segments of a JPEG, in plain Python. A regular expression skips the bytes between the segments."""

import re
from collections.abc import Iterator

# A marker that begins a segment; not a stuffed byte, a fill byte, TEM, RST or SOI (ITU-T T.81, table B.1).
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
SCAN, _END = 0xDA, 0xD9


def walk_segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Iterates over the segments of a JPEG up to the end of the image.

    Yields:
        The code of the marker, the offset of the length field behind the marker, and the length in bytes, with the
        2 bytes of the field.
    """
    at = 2
    while (marker := _MARKER.search(jpeg, at)) and marker[1][0] != _END:
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
        yield marker[1][0], marker.end(), length
        at = marker.end() + length
