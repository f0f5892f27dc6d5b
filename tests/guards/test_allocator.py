"""The allocator takes the advice where the C library is glibc."""

import platform
import subprocess
import sys

import pytest

from worker.guards.allocator import give_back_free_memory, keep_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"


def test_glibc_takes_the_advice() -> None:
    assert keep_freed_memory() == give_back_free_memory() == GLIBC


# In a process of its own: a heap full of holes, of which none is at its end.
HOLES = """
from pathlib import Path
from worker.guards.allocator import give_back_free_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

pieces = [bytes(60_000) for _ in range(1000)]
del pieces[:-1:2], pieces[:-1:2], pieces[:-1:2]
before = resident()
give_back_free_memory()
print(before - resident())
"""


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_holes_in_the_heap_go_back_to_the_kernel() -> None:
    assert int(subprocess.check_output([sys.executable, "-c", HOLES], text=True)) > 30_000_000
