"""Limit on the number of requests that are computed at once, with a queue for the others.

A kernel of TensorFlow cannot be stopped once it runs. In a plain queue, a request behind forty costly images would wait
for all of them. So when the oldest request has waited long, the newest one is next. The newest is answered in time; the
older ones wait on, and their clients have probably given up ("adaptive LIFO": B. Maurer, Fail at Scale, ACM Queue 13,
2015).
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from serving.process.cores import count_cores
from serving.server.errors import ServingError

_LATE_SECONDS = 1.0  # longest wait of the oldest request in first-come order; beyond, the newest request is next
_MAX_WAIT = 60.0  # seconds; a client has given up before
_MIN_SLOTS = 4  # because many requests wait more than they compute


class _Waiting:
    """Place of a request in the queue."""

    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.granted = threading.Event()


class ComputeSlots:
    """Slots for requests that are computed at once, and the queue of those that wait for a slot."""

    def __init__(self, count: int = 0):
        """Makes the slots.

        Args:
            count: number of slots; 0 for two per processor, and at least four.
        """
        self._free = count or max(_MIN_SLOTS, 2 * count_cores())
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def run(
        self,
        compute: Callable[[Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]],
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> list[np.ndarray]:
        """Waits for a slot and computes a request in it.

        Args:
            compute: `Servable.run`.
            inputs: first argument of `compute`.
            outputs: second argument of `compute`.
        Returns:
            The result of `compute`.
        Raises:
            ServingError: if the request waited 60 seconds, or `compute` raises the error.
        """
        self._begin()
        try:
            return compute(inputs, outputs)
        finally:
            self._end()

    def _begin(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = _Waiting()
            self._waiting.append(mine)
        if mine.granted.wait(_MAX_WAIT):
            return
        with self._lock:
            if mine not in self._waiting:  # granted just now
                return
            self._waiting.remove(mine)
        raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is busy with other requests; send this one again")

    def _end(self) -> None:
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            late = time.monotonic() - self._waiting[0].arrived > _LATE_SECONDS
            self._waiting.pop(-1 if late else 0).granted.set()
