"""Lets a component say how far it is, to whoever listens in the same process; else it costs nothing."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class Event:
    """Something went on.

    Attributes:
        step: what is counted, in words: "images read".
        done: how many more than before.
        total: how many there will be in all; 0 where the component does not know.
        note: what is worth a line of its own, such as the figures of an epoch; or "".
    """

    step: str
    done: int = 0
    total: int = 0
    note: str = ""


_listeners: list[Callable[[Event], None]] = []


def report(step: str, done: int = 0, total: int = 0, note: str = "") -> None:
    """Tells the listeners; see `Event`. From any thread."""
    for listener in _listeners:
        listener(Event(step, done, total, note))


@contextlib.contextmanager
def listen(listener: Callable[[Event], None]) -> Iterator[None]:
    """Calls a function with each event, as long as the context lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
