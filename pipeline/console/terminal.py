"""Silence while libraries are imported, and the signals that end a run."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

_Item = TypeVar("_Item")
_END = object()


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Drops what C++ writes to the standard error, such as TensorFlow at its import; no setting silences all of it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def quietly(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yields the same items; drops what C++ says while it computes one, such as libjpeg of a damaged image."""
    iterator = iter(items)
    while True:
        with muted_stderr():
            item = next(iterator, _END)
        if item is _END:
            return
        yield cast(_Item, item)


def catch_interrupts() -> Callable[[], int]:
    """Makes SIGTERM, which a scheduler sends, end a run as Ctrl-C does.

    Returns:
        A function that tells which of the two came, or 0: Beam wraps a KeyboardInterrupt in an error of its own.
    """
    caught: list[int] = []

    def interrupt(number: int, _: object) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return lambda: caught[0] if caught else 0
