"""Thread pool whose threads are not waited for when the work is aborted."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def thread_pool(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Yields a thread pool; a normal end of the context waits for all tasks.

    After an error or Ctrl-C, queued tasks are cancelled and running threads are not waited for: a thread may be reading
    from a network folder that no longer answers.

    Args:
        count: maximum number of threads; None for Python's default.
    """
    threads = ThreadPoolExecutor(count)
    try:
        yield threads
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()
