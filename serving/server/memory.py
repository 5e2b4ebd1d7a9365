"""Gives the memory of what was unloaded back to the system."""

import contextlib
import ctypes
import gc


def release_memory() -> None:
    """Collects graphs, which are webs of Python objects that point at each other, and what glibc keeps for later.

    Threads that computed leave holes in glibc's arenas; without this, a server grows by half over fifty swaps.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function, and no such arenas
        ctypes.CDLL(None).malloc_trim(0)
