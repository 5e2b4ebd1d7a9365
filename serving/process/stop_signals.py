"""SIGINT and SIGTERM, which end a server: a first one asks it to stop, a second one or a time limit ends it at once.

Python runs a signal's handler between two steps of the main thread, and a second handler within the first. A handler
that takes a lock, as `threading.Event.set` does, may therefore wait for itself for ever. The handler here takes none.
Python's own C code writes a byte to a pipe (`signal.set_wakeup_fd`), and a thread reads it, while the main thread
loads a model or waits.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Collection, Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def caught(numbers: Collection[int] = NUMBERS) -> Iterator[int]:
    """Catches the signals; only the main thread may enter.

    After a signal the process is ending: when the context ends, all are ignored for the rest of it.

    Args:
        numbers: of the signals.
    Returns:
        A file descriptor from which each signal can be read as a byte, and the end of the context as the end of file.
    """
    received: list[int] = []
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    wakeup = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield source
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if received else handler)
        signal.set_wakeup_fd(wakeup)
        os.close(sink)
        os.close(source)


def list_heeded() -> list[int]:
    """Returns those of the signals that the process does not ignore; see `end_with_parent`."""
    return [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]


def watch(source: int, stop: Callable[[], None], end: Callable[[], None], seconds: float) -> threading.Thread:
    """Starts a thread that acts on the signals, until the context of `caught` has ended.

    Args:
        source: the file descriptor of `caught`.
        stop: called at the first signal.
        end: called at the second signal, or when `seconds` have passed since the first.
        seconds: how long what was asked to stop may take.
    Returns:
        The thread.
    """
    thread = threading.Thread(target=_act, args=(os.dup(source), stop, end, seconds), daemon=True, name="signals")
    thread.start()
    return thread


def _act(source: int, stop: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
    with contextlib.closing(os.fdopen(source, "rb", buffering=0)) as signals:
        if not signals.read(1):
            return
        stop()
        late = not select.select([signals], [], [], seconds)[0]
        if late or signals.read(1):
            end()
