"""Muting of libraries, and the signals that end a run."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

from serving.process.muting import muted_stderr

_Item = TypeVar("_Item")
_END = object()


def quietly(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yields the items; drops the standard error while computing each, such as libjpeg's about a damaged image."""
    iterator = iter(items)
    while True:
        with muted_stderr():
            item = next(iterator, _END)
        if item is _END:
            return
        yield cast(_Item, item)


def catch_interrupts() -> Callable[[], int]:
    """Raises KeyboardInterrupt at SIGINT and at SIGTERM, which schedulers send.

    Returns:
        A function that returns the number of the first signal, or 0. It is needed because Beam wraps a
        KeyboardInterrupt in an error of its own.
    """
    caught: list[int] = []

    def interrupt(number: int, _: object) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return lambda: caught[0] if caught else 0
