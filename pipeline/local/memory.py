"""Peak of the resident memory of this process while a component runs. Linux only.

The high-water mark of the kernel (VmHWM) covers the whole life of a process. It can be reset, but `getrusage` reads the
same mark, so a reset would falsify the peak that benchmarks and supervisors read. So a thread samples the memory, and
where the mark has risen, the mark is the peak of the component, exactly.
"""

import contextlib
import re
import threading
from collections.abc import Iterator

_STATUS = "/proc/self/status"
_INTERVAL = 0.1  # seconds between two samples; a sample takes 0.2 ms of a processor at the most
_FIELDS = re.compile(rb"^Vm(HWM|RSS):\s+(\d+) kB", re.MULTILINE)


class PeakMemory:
    """Peak of the resident memory since the start of the measurement.

    Attributes:
        megabytes: peak in MB of a million bytes, after the end of the measurement; None if the system does not tell.
    """

    def __init__(self) -> None:
        """Begins without a figure."""
        self.megabytes: float | None = None
        self._sampled = 0
        self._mark, _ = self._sample()
        self._ended = threading.Event()

    def _sample(self) -> tuple[int, int]:
        """Reads high-water mark and resident memory in kB; zeros if the system has no such file."""
        mark, resident = _read()
        self._sampled = max(self._sampled, resident)
        return mark, resident

    def watch(self) -> None:
        """Samples until `end` is called; runs in a thread."""
        while not self._ended.wait(_INTERVAL):
            self._sample()

    def end(self) -> None:
        """Ends the thread, and sets the figure."""
        self._ended.set()
        mark, _ = self._sample()
        peak = mark if mark > self._mark else self._sampled
        self.megabytes = round(peak * 1024 / 1e6, 1) if peak else None


@contextlib.contextmanager
def measure_memory() -> Iterator[PeakMemory]:
    """Measures the peak inside a `with` statement; child processes do not count."""
    peak = PeakMemory()
    thread = threading.Thread(target=peak.watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.end()
        thread.join()


def _read() -> tuple[int, int]:
    with contextlib.suppress(OSError), open(_STATUS, "rb") as file:
        found = {name: int(size) for name, size in _FIELDS.findall(file.read())}
        return found.get(b"HWM", 0), found.get(b"RSS", 0)
    return 0, 0
