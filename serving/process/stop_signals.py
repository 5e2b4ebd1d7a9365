"""Stop of a server by SIGINT or SIGTERM: the first signal stops it, a second signal or a time limit ends it at once.

Python runs a signal handler between two steps of the main thread, and a second handler inside the first. So a handler
that takes a lock, as `threading.Event.set` does, may wait for itself for ever. The handler here takes no lock. The C
code of Python writes a byte to a pipe (`signal.set_wakeup_fd`), and a thread reads the byte while the main thread loads
a model or waits.
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
    """Catches signals until the context ends; only the main thread may call it.

    If a signal came, the process is about to end: after the context, all the signals are ignored.

    Args:
        numbers: numbers of the signals.
    Returns:
        A file descriptor with one byte per signal, and the end of file at the end of the context.
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


def list_unignored() -> list[int]:
    """Returns the stop signals that this process does not ignore; `end_with_parent` ignores SIGINT."""
    return [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]


def watch(source: int, stop: Callable[[], None], end: Callable[[], None], seconds: float) -> threading.Thread:
    """Starts a thread that calls `stop` and `end` on signals, until the context of `caught` ends.

    Args:
        source: file descriptor from `caught`.
        stop: function that is called at the first signal.
        end: function that is called at the second signal, or `seconds` after the first.
        seconds: time limit of the stop in seconds.
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
