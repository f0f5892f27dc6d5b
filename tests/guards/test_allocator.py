"""The allocator takes the advice where the C library is glibc."""

import platform

from worker.guards.allocator import keep_freed_memory


def test_glibc_takes_the_advice() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
