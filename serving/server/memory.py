"""Memory limits for requests in work, and release of freed memory to the operating system."""

import collections
import contextlib
import ctypes
import gc
import threading
from collections.abc import Iterator
from typing import NamedTuple

import grpc

from serving.server.errors import ServingError, invalid_argument

_MAX_BYTES = 768 << 20  # of one request
_SHARED_BYTES = 512 << 20  # of all requests in work together; a request that takes more runs alone
_FACTOR = 24  # times the maximum bytes of a request: limit of one request, if more than _MAX_BYTES
_SMALL = 4 << 20  # bytes; smaller requests never wait
_TRIM_ABOVE = 16 << 20  # bytes
_TRIM_DELAY = 1.0  # seconds; by then the request and its answer are freed
_WAIT = 60.0  # seconds
# Parameters of glibc's mallopt, and the values that glibc reaches by itself after large blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_THRESHOLD, _MMAP_THRESHOLD = 64 << 20, 32 << 20
_FREED = 128 << 10  # bytes; glibc trims an arena only when a block of at least 64 KiB is freed


class Size(NamedTuple):
    """Estimated memory of a request.

    Attributes:
        num_bytes: memory in bytes.
        reason: end of the error message for a request that is too large: its elements, and advice.
    """

    num_bytes: int
    reason: str


class MemoryBudget:
    """Memory budget of the requests in work.

    Large requests wait until enough memory is free, first come, first served. Small requests do not wait. If too many
    requests wait, a further large request is refused, so that small requests find a free thread.
    """

    def __init__(self, max_waiting: int, max_request_bytes: int):
        """Sets the bounds.

        Args:
            max_waiting: maximum number of waiting requests.
            max_request_bytes: maximum bytes of a request on the wire.
        """
        self._max_waiting = max_waiting
        self._limit = max(_MAX_BYTES, _FACTOR * max_request_bytes)
        self._taken = 0
        self._waiting: collections.deque[object] = collections.deque()
        self._changed = threading.Condition()
        self._trimmer: threading.Timer | None = None

    @contextlib.contextmanager
    def take(self, size: Size, wait: bool = True) -> Iterator[None]:
        """Waits until enough memory is free, and reserves the memory until the context ends.

        Args:
            size: estimated memory of the request.
            wait: False if the request holds a reservation already: two such requests would wait for each other.
        Raises:
            ServingError: INVALID_ARGUMENT if the request is larger than the limit; UNAVAILABLE if too many requests
                wait, if the request waited 60 seconds, or if the memory is not free and `wait` is False.
        """
        num_bytes = size.num_bytes
        if num_bytes > self._limit:
            raise invalid_argument(
                f"The request unfolds to {num_bytes >> 20} MB of memory; the maximum is {self._limit >> 20} MB: "
                f"{size.reason}"
            )
        if num_bytes <= _SMALL:
            yield
            return
        self._enter(num_bytes, _WAIT if wait else 0.0)
        try:
            yield
        finally:
            self._leave(num_bytes)

    def trim_after(self, num_bytes: int) -> None:
        """Returns freed memory to the operating system, a second after a large request or answer.

        glibc keeps freed memory for later use: the server would stay as large as its largest requests made it. Requests
        that end within that second share one release.

        Args:
            num_bytes: size of the request or answer; a small one changes nothing.
        """
        if num_bytes <= _TRIM_ABOVE:
            return
        _trim_arena()
        with self._changed:
            if self._trimmer is None:
                self._trimmer = threading.Timer(_TRIM_DELAY, self._trim)
                self._trimmer.daemon = True
                self._trimmer.start()

    def _enter(self, num_bytes: int, seconds: float) -> None:
        ticket = object()
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                raise _busy()
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._is_next(ticket, num_bytes), seconds):
                    raise _busy()
                self._taken += num_bytes
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _is_next(self, ticket: object, num_bytes: int) -> bool:
        fits = not self._taken or self._taken + num_bytes <= _SHARED_BYTES
        return fits and self._waiting[0] is ticket

    def _leave(self, num_bytes: int) -> None:
        with self._changed:
            self._taken -= num_bytes
            self._changed.notify_all()
        self.trim_after(num_bytes)

    def _trim(self) -> None:
        with self._changed:
            self._trimmer = None
        release_memory()


def _busy() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE, "The server is busy with other large requests; send this one again later"
    )


def release_memory() -> None:
    """Collects reference cycles, as in graphs and errors, and returns memory that glibc holds.

    Threads leave holes in the arenas of glibc: without this, a server grows by half over fifty changes of the version.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has neither the function nor the arenas
        ctypes.CDLL(None).malloc_trim(0)


def _trim_arena() -> None:
    """Returns the free end of this thread's arena, up to 64 MB, to the operating system.

    `malloc_trim` does that for the main arena only.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _FREED)
        libc.free(libc.malloc(_FREED))
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
