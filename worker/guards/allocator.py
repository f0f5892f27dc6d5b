"""The C library's allocator, told how this process uses memory."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # of malloc.h
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 256 << 20


def keep_freed_memory() -> bool:
    """Makes the process keep up to 256 MiB of freed memory instead of giving each large piece back at once; whether
    the C library can.

    Every layer allocates and frees tensors of tens of megabytes. By default each comes from the kernel anew, page by
    page: with 8,192 tokens a batch a seventh of the CPU's time went there (docs/benchmarks.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(option, _KEPT_BYTES) == 1 for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)
    )


def give_back_free_memory() -> bool:
    """Gives the free pages of the heap back to the kernel; whether the C library can.

    glibc gives back only what is free at the heap's end. What is fetched, scraped and resized, in pieces of up to some
    hundred kilobytes, leaves holes behind, and the process grew by 10 MB an hour (docs/reliability.md). Takes
    milliseconds (24 for 90 MB of holes), without Python's lock; what allocates meanwhile waits for some of them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
