"""Python's cycle collector and the C library's allocator, told how a long-running process of ours allocates."""

from __future__ import annotations

import ctypes
import gc
import os
import platform

_M_ARENA_MAX = -8
"""Of mallopt(3), in the GNU C library's malloc.h."""


def collect_seldom(allocations: int) -> None:
    """What exists now lives as long as the process, and the work to come leaves next to no cycles behind: so leave the
    former alone, and look for garbage only every so many allocations (Python's default is 700).

    Landing makes six containers a record, for its headers: with the defaults a third of its time went into looking
    through them and through every module that was ever imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(allocations, 20, 20)


def use_one_arena() -> None:
    """All threads share one heap of the C library, unless MALLOC_ARENA_MAX says otherwise.

    The GNU one has a heap a thread, and what librdkafka takes and Python gives back stays spread over them: some 40
    MiB of a consumer's peak, at the same speed. With any other nothing happens. Call it before there are threads.
    """
    if platform.libc_ver()[0] == "glibc" and "MALLOC_ARENA_MAX" not in os.environ:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
