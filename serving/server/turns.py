"""Bounds how many requests are computed at once, and says which of those that wait is next.

A kernel of TensorFlow cannot be stopped once it runs. Behind forty costly images, a request that waits in the order of
its coming would wait for all of them. So once requests wait long, the newest is next: it is answered in time, and the
old ones, whose clients have given up by then, wait on ("adaptive LIFO": B. Maurer, Fail at Scale, ACM Queue 13, 2015).
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from serving.server.errors import ServingError

_LONG = 1.0  # seconds that the oldest may wait while requests are taken in the order of their coming
_WAIT = 60.0  # seconds; a client has given up before
_LEAST = 4  # at once, for many a request waits more than it computes


class _Waiting:
    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.granted = threading.Event()


class Turns:
    """Requests that are computed, and those that wait for it."""

    def __init__(self, most: int = 0):
        """Sets the bound.

        Args:
            most: requests that are computed at once; 0 for two a processor, and four at the least.
        """
        self._free = most or max(_LEAST, 2 * len(os.sched_getaffinity(0)))
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def run(
        self,
        compute: Callable[[Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]],
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> list[np.ndarray]:
        """Computes a request as soon as it is its turn; inputs and outputs are those of `Servable.run`.

        Raises:
            ServingError: if it waited a minute, and what `compute` raises.
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
        if mine.granted.wait(_WAIT):
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
            late = time.monotonic() - self._waiting[0].arrived > _LONG
            self._waiting.pop(-1 if late else 0).granted.set()
