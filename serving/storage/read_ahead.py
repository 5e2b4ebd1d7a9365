"""Read-ahead of files in a store: many requests wait for the network at once.

The caller gives the sizes, because TensorFlow's client of Google's storage requests one size at a time for all threads.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

import tensorflow as tf

from serving.storage.gfile import REQUESTS_AT_ONCE, is_remote
from serving.storage.regular import read_regular
from serving.storage.threads import thread_pool


def read_files(files: Iterable[tuple[str, int]]) -> Iterator[bytes | OSError | tf.errors.OpError]:
    """Reads files in order; files of a store are read ahead while the caller works on earlier ones.

    Memory holds at most REQUESTS_AT_ONCE files of a store, or one file of this machine.

    Args:
        files: paths, and sizes in bytes from a listing; a file may have changed since.
    Yields:
        The bytes of each file, or the error of an unreadable file.
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
