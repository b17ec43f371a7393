"""Python's cycle collector, told how a long-running process of ours allocates."""

from __future__ import annotations

import gc


def collect_seldom(allocations: int) -> None:
    """What exists now lives as long as the process, and the work to come leaves next to no cycles behind: so leave the
    former alone, and look for garbage only every so many allocations (Python's default is 700).

    Landing makes six containers a record, for its headers: with the defaults a third of its time went into looking
    through them and through every module that was ever imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(allocations, 20, 20)
