"""What a person sees. TFX, Beam and TensorFlow write to a log file instead."""

import contextlib
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar, cast

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


def redirect_noise(log: pathlib.Path, verbose: bool) -> tuple[TextIO, TextIO]:
    """Sends what the process writes from now on to a file, C++ included.

    Args:
        log: a file to append to.
        verbose: whether to show it on the standard error, too.
    Returns:
        What were the standard output and the standard error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace")
    with open(log, "ab") as file:
        sink = _tee(file.fileno(), stderr.fileno()) if verbose else file.fileno()
        os.dup2(sink, 1)
        os.dup2(sink, 2)
    return stdout, stderr


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


def _tee(*targets: int) -> int:
    """A file descriptor to write to; what comes is copied to each of the targets."""
    source, sink = os.pipe()
    copies = [os.dup(target) for target in targets]

    def copy() -> None:
        while chunk := os.read(source, 1 << 16):
            for target in copies:
                os.write(target, chunk)

    threading.Thread(target=copy, daemon=True).start()
    return sink
