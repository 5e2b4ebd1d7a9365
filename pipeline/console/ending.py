"""Ends a command at Ctrl-C, whatever it waits for: a thread that reads from a network folder may never come back.

The first Ctrl-C raises KeyboardInterrupt in the main thread, so that what is open is closed. Where that takes longer
than `GRACE`, or at a second Ctrl-C, a thread ends the process. The thread hears of the signal from Python's own C code
(`signal.set_wakeup_fd`), so that it acts even while the main thread is in a call of a library.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

GRACE = 5.0  # seconds
_LATE = f"graft: interrupted; what it waited for did not end within {GRACE:g} s, and was left.\n"
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"  # a bar hides it


class Interrupts:
    """The SIGINTs of a command.

    Attributes:
        received: True after the first of them.
        raises: whether a SIGINT raises KeyboardInterrupt; else it ends the process as if nothing caught it.
    """

    def __init__(self) -> None:
        """Has received none."""
        self.received = self.raises = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Is Python's handler of the signal."""
        if not self.raises:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Catches SIGINT, unless the process ignores it, and ends the process where it does not end by itself."""
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    threading.Thread(target=_end_late, args=(source, os.dup(2)), daemon=True, name="interrupts").start()
    wakeup = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    complain, sys.unraisablehook = sys.unraisablehook, _pass_over_interrupts
    signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
        signal.set_wakeup_fd(wakeup)
        sys.unraisablehook = complain
        os.close(sink)


def end_at_once(code: int) -> None:
    """Ends the process without waiting for its threads; what was printed is written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end_late(source: int, stderr: int) -> None:
    """Ends the process at a second signal, or some time after the first, unless the context has ended."""
    with os.fdopen(source, "rb", buffering=0) as signals, os.fdopen(stderr, "wb", buffering=0) as output:
        first = signals.read(1)
        if not first:
            return
        late = not select.select([signals], [], [], GRACE)[0]
        if not late and not signals.read(1):
            return
        if select.select([], [output], [], 0)[1]:
            output.write(_SHOW_CURSOR * output.isatty() + _LATE.encode() * late)
        os._exit(128 + first[0])


def _pass_over_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    """Says nothing of a KeyboardInterrupt that a library's callback swallows."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
