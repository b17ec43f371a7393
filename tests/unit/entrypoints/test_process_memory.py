"""What a process says to the C library, seen from within a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

THREADS_THAT_ALLOCATE = """
import ctypes, threading
from streamlake.entrypoints.process_memory import use_one_arena

use_one_arena()
libc = ctypes.CDLL(None)
all_at_once = threading.Barrier(4)

def allocate():
    all_at_once.wait()
    libc.malloc(1000)
    all_at_once.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are the GNU C library's")
@pytest.mark.parametrize(("said", "least", "most"), [({}, 1, 1), ({"MALLOC_ARENA_MAX": "3"}, 2, 3)])
def test_threads_share_one_heap_unless_the_operator_has_said_otherwise(
    said: dict[str, str], least: int, most: int
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | said
    done = subprocess.run(
        [sys.executable, "-c", THREADS_THAT_ALLOCATE], env=environment, capture_output=True, text=True, check=True
    )
    assert least <= done.stderr.count("Arena ") <= most
