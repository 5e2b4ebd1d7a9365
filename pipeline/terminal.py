"""Silence while libraries are imported, and the signals that end a run."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def muted_imports() -> Iterator[None]:
    """Drops what TensorFlow's C++ says while it is imported; no setting silences all of it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


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
