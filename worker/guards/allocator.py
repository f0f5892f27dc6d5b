"""The C library's allocator, told how a model on the CPU uses memory."""

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
