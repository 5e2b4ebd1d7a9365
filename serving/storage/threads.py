"""Thread pool whose threads are not waited for when the work is aborted."""

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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


def map_in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item], count: int) -> list[_Result]:
    """Calls a function with each item, in threads that fetch the next item themselves.

    `ThreadPoolExecutor.map` makes a future of each item and wakes the caller for it, which takes a third of the time of
    reading a small image. After an error or Ctrl-C, no thread fetches another item.

    Args:
        function: function to call.
        items: its arguments.
        count: number of threads; no more are started than there are items.
    Returns:
        The results, in the order of the items.
    """
    waiting = collections.deque(enumerate(items))
    results: dict[int, _Result] = {}
    total = len(waiting)

    def work() -> None:
        while True:
            try:
                index, item = waiting.popleft()
            except IndexError:  # no item is left
                return
            results[index] = function(item)

    with thread_pool(count) as threads:
        try:
            for ended in wait(
                [threads.submit(work) for _ in range(min(count, total))], return_when=FIRST_EXCEPTION
            ).done:
                ended.result()
        finally:
            waiting.clear()
    return [results[index] for index in range(total)]
