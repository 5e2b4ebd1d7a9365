"""Ends a command at Ctrl-C, even if a thread hangs, as in a read from a network folder.

The first Ctrl-C raises KeyboardInterrupt in the main thread, so that open files are closed. A second Ctrl-C, or `GRACE`
seconds after the first, a thread ends the process. Python's C code tells that thread of the signal
(`signal.set_wakeup_fd`), so that the thread acts even while the main thread is inside a library.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from serving.process import temporary_files

GRACE = 5.0  # seconds
_LATE = f"graft: interrupted; some work did not end within {GRACE:g} s, and was cut off.\n"
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"  # a progress bar hides the cursor


class Interrupts:
    """Handler of SIGINT for a command.

    Attributes:
        received: True after the first SIGINT.
        raises: whether a SIGINT raises KeyboardInterrupt; otherwise it ends the process by the default action.
    """

    def __init__(self) -> None:
        """Starts without a received signal."""
        self.received = self.raises = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGINT: raises KeyboardInterrupt, or ends the process."""
        if not self.raises:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Handles SIGINT inside the context, unless the process ignores it; ends a process that hangs afterwards."""
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
    """Flushes the standard streams, removes temporary files, and ends the process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    temporary_files.remove_now()
    os._exit(code)


def _end_late(source: int, stderr: int) -> None:
    """Ends the process at the second signal, or `GRACE` seconds after the first, unless the context has ended."""
    with os.fdopen(source, "rb", buffering=0) as signals, os.fdopen(stderr, "wb", buffering=0) as output:
        first = signals.read(1)
        if not first:
            return
        late = not select.select([signals], [], [], GRACE)[0]
        if not late and not signals.read(1):
            return
        if select.select([], [output], [], 0)[1]:
            output.write(_SHOW_CURSOR * output.isatty() + _LATE.encode() * late)
        temporary_files.remove_now()
        os._exit(128 + first[0])


def _pass_over_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    """Reports exceptions that Python cannot raise, but no KeyboardInterrupt, which callbacks of libraries swallow."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
