"""Threads that read, and need not be waited for where the work is given up."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def thread_pool(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Gives threads, all of which have ended when the context ends as it should.

    After an error or Ctrl-C nothing further is begun, and no thread is waited for: one of them may read from a network
    folder that does not answer any more.

    Args:
        count: of the threads at the most; None for Python's default.
    """
    threads = ThreadPoolExecutor(count)
    try:
        yield threads
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()
