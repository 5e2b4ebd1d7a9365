"""Progress events, from a component to the listeners in the same process. Without a listener they cost nothing."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class Event:
    """Progress of one step of a component.

    Attributes:
        step: name of the step and of the counted things: "images read".
        done: number of things done since the event before.
        total: number of things in all; 0 where the component does not know it.
        note: text for a line of its own, such as the figures of an epoch; or "".
    """

    step: str
    done: int = 0
    total: int = 0
    note: str = ""


_listeners: list[Callable[[Event], None]] = []


def report(step: str, done: int = 0, total: int = 0, note: str = "") -> None:
    """Passes an `Event` to each listener. May be called from any thread."""
    for listener in _listeners:
        listener(Event(step, done, total, note))


@contextlib.contextmanager
def listen(listener: Callable[[Event], None]) -> Iterator[None]:
    """Calls a function with each event until the context ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
