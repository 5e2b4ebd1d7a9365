"""Bounds the memory of the requests in work, and gives freed memory back to the system."""

import collections
import contextlib
import ctypes
import gc
import threading
from collections.abc import Iterator
from typing import NamedTuple

import grpc

from serving.server.errors import ServingError, invalid_argument

_MOST_BYTES = 768 << 20  # that one request may take
_SHARED_BYTES = 512 << 20  # that several requests may take together; one that takes more is alone in work
_FOLDS = 24  # times the bytes of the largest request, if that is more
_SMALL = 4 << 20  # bytes; such a request waits for no other one
_TRIM_ABOVE = 16 << 20  # bytes
_TRIM_DELAY = 1.0  # seconds; by then the request, and what was answered, are freed
_WAIT = 60.0  # seconds
# Numbers of glibc's mallopt, and the values that it comes to by itself after large blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_THRESHOLD, _MMAP_THRESHOLD = 64 << 20, 32 << 20
_FREED = 128 << 10  # bytes; glibc looks at the end of an arena when a block of 64 KiB and more is freed


class Size(NamedTuple):
    """Estimate of the memory that a request takes.

    Attributes:
        num_bytes: of memory.
        reason: the request's elements, and what to do if they are too many.
    """

    num_bytes: int
    reason: str


class Budget:
    """Memory of the requests in work: large ones wait until others are finished, in the order of their coming.

    Small ones do not wait. Where too many wait, a further one is refused, so that small ones find a thread.
    """

    def __init__(self, most_waiting: int, max_request_bytes: int):
        """Sets the bounds.

        Args:
            most_waiting: requests that may wait at once.
            max_request_bytes: the largest request, as it comes.
        """
        self._most_waiting = most_waiting
        self._most = max(_MOST_BYTES, _FOLDS * max_request_bytes)
        self._taken = 0
        self._waiting: collections.deque[object] = collections.deque()
        self._changed = threading.Condition()
        self._trimmer: threading.Timer | None = None

    @contextlib.contextmanager
    def take(self, size: Size, wait: bool = True) -> Iterator[None]:
        """Takes memory until the context ends; waits until there is enough.

        Args:
            size: of the request.
            wait: not if the request holds memory already: two such would wait for each other.
        Raises:
            ServingError: if one request may not take so much; if it would have to wait and is not to, or many requests
                do; if it waited long.
        """
        num_bytes = size.num_bytes
        if num_bytes > self._most:
            raise invalid_argument(
                f"The request unfolds to {num_bytes >> 20} MB of memory; the maximum is {self._most >> 20} MB: "
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
        """Gives freed memory back, a second after a request or an answer of that size; once for all that end by then.

        glibc keeps what was freed for later: a server would stay as large as its largest requests made it.
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
            if len(self._waiting) >= self._most_waiting:
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
    """Collects objects that point at each other, as graphs and errors do, and what glibc keeps for later.

    Threads that computed leave holes in glibc's arenas; without this, a server grows by half over fifty swaps.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function, and no such arenas
        ctypes.CDLL(None).malloc_trim(0)


def _trim_arena() -> None:
    """Gives the free end of this thread's arena back, up to 64 MB, which `malloc_trim` does for the main arena only."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _FREED)
        libc.free(libc.malloc(_FREED))
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
