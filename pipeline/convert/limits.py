"""Refuses small files on which Pillow would work for minutes."""

import itertools

from components.images.formats import GIF, JPEG, JPEG_FRAMES
from components.images.jpeg_segments import SCAN, walk_segments

_MOST_SEGMENTS = 50_000  # segments of a JPEG; Pillow takes 12 microseconds for each
_MOST_BETWEEN = 1_000_000  # bytes between the segments of a JPEG's header; Pillow takes a microsecond for each
_MOST_COPIED = 2e10  # bytes that Pillow copies for comments of a GIF, as each block copies those before; 1 to 2 s
# The limits of components.images.jpeg_scans, whose import needs TensorFlow.
_MOST_SCANS, _PIXELS, _PIXELS_A_BYTE = 16, 1e9, 100


class ConversionError(ValueError):
    """Error of a file that is left out; the message is the reason."""


def refuse_costly(encoded: bytes) -> None:
    """Refuses a file that would keep Pillow busy for minutes.

    Raises:
        ConversionError: with the reason.
    """
    if encoded.startswith(JPEG):
        _refuse_jpeg(encoded)
    elif encoded.startswith(GIF) and _has_long_comments(encoded):
        raise ConversionError("a GIF with too many blocks of comments before its picture")


def _refuse_jpeg(jpeg: bytes) -> None:
    scans, header, pixels = 0, 0, 1
    segments = list(itertools.islice(walk_segments(jpeg), _MOST_SEGMENTS + 1))
    if len(segments) > _MOST_SEGMENTS:
        raise ConversionError(f"a JPEG with more than {_MOST_SEGMENTS} segments")
    for code, at, length in segments:
        if not scans:
            header += 2 + length
            if at - header > _MOST_BETWEEN:
                raise ConversionError(f"a JPEG with more than {_MOST_BETWEEN} bytes between its segments")
        if code in JPEG_FRAMES:
            pixels = int.from_bytes(jpeg[at + 3 : at + 5], "big") * int.from_bytes(jpeg[at + 5 : at + 7], "big") or 1
        scans += code == SCAN
    most = max(_MOST_SCANS, int((_PIXELS + _PIXELS_A_BYTE * len(jpeg)) / pixels))
    if scans > most:
        raise ConversionError(f"a JPEG with {scans} scans (of its size, {most} are read at most)")


def _has_long_comments(gif: bytes) -> bool:
    """Tells whether Pillow would copy more than `_MOST_COPIED` bytes for the comments before a GIF's first frame."""
    at, blocks = 13 + (3 * (2 << gif[10] % 8) if len(gif) > 10 and gif[10] >= 128 else 0), 0
    while gif[at : at + 1] == b"!":
        at += 2
        while at < len(gif) and gif[at]:
            at, blocks = at + 1 + gif[at], blocks + 1
            if blocks * at > _MOST_COPIED:
                return True
        at += 1
    return False
