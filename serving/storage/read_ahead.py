"""Reads files of a store before they are wanted: each waits for the network, and many may wait at once.

Their sizes are given, for TensorFlow's client of Google's storage asks for one file's at a time, whatever the threads.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

import tensorflow as tf

from serving.storage.gfile import REQUESTS_AT_ONCE, is_remote
from serving.storage.regular import read_regular
from serving.storage.threads import thread_pool


def read_files(files: Iterable[tuple[str, int]]) -> Iterator[bytes | OSError | tf.errors.OpError]:
    """Reads files in their order; of a store, the next ones while the first is worked on.

    Memory holds at most REQUESTS_AT_ONCE files, and of those of this machine one.

    Args:
        files: their paths, and their sizes in bytes as they were listed; they may have changed since.
    Yields:
        The bytes of each, or why it cannot be read.
    """
    waiting: collections.deque[Future[bytes | OSError | tf.errors.OpError]] = collections.deque()
    with thread_pool(REQUESTS_AT_ONCE) as threads:
        for path, size in files:
            if not is_remote(path):
                yield _read(path, size)
                continue
            waiting.append(threads.submit(_read, path, size))
            if len(waiting) == REQUESTS_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(path: str, size: int) -> bytes | OSError | tf.errors.OpError:
    try:
        if not is_remote(path):
            return read_regular(path)
        with tf.io.gfile.GFile(path, "rb") as file:
            content = bytes(file.read(size + 1))
            return content if len(content) <= size else content + bytes(file.read())
    except (OSError, tf.errors.OpError) as error:
        return error
