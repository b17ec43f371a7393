"""Sets of very many offsets: runs in two arrays of 64-bit integers, 16 bytes a run, whatever the order they come in.

`Offsets` (positions.py) is for sets that are asked while they grow. This one is for sets that are gathered first and
then walked through once, in order: an audit of 100 million offsets keeps a handful of runs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from heapq import merge

from streamlake.domain.model.positions import Offsets

MIN_PENDING = 4_096
"""Runs out of order are kept aside until there are so many, or as many as there are in order, and merged in one go:
so gathering n runs costs O(n log n), and not O(n) for each."""

Run = tuple[int, int]
"""Half-open: `[start, end)`."""


class OffsetRuns:
    """A set of offsets that remembers which of them were added more than once."""

    __slots__ = ("_ends", "_pending", "_starts", "_twice")

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")
        self._pending: list[Run] = []
        self._twice = Offsets()

    def add(self, start: int, end: int) -> None:
        """Add `[start, end)`; the caller knows that 0 <= start < end."""
        starts, ends = self._starts, self._ends
        if not ends or start > ends[-1]:
            starts.append(start)
            ends.append(end)
        elif start == ends[-1]:
            ends[-1] = end
        else:
            self._pending.append((start, end))
            if len(self._pending) >= max(MIN_PENDING, len(starts)):
                self._merge()

    def update(self, runs: Iterable[Run]) -> None:
        """Add every run."""
        for start, end in runs:
            self.add(start, end)

    def __iter__(self) -> Iterator[Run]:
        """Its runs, ascending and disjoint; runs that touch are one."""
        self._merge()
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """How many offsets, not how many runs."""
        self._merge()
        return sum(self._ends) - sum(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def end(self) -> int:
        """The position after the last offset; 0 where there is none."""
        self._merge()
        return self._ends[-1] if self._ends else 0

    @property
    def twice(self) -> Offsets:
        """What was added more than once."""
        self._merge()
        return self._twice

    def _merge(self) -> None:
        if not self._pending:
            return
        before = zip(self._starts, self._ends, strict=True)
        starts, ends = array("q"), array("q")
        for start, end in merge(before, sorted(self._pending)):
            if ends and start <= ends[-1]:
                if start < ends[-1]:
                    self._twice.add(start, min(end, ends[-1]))
                ends[-1] = max(end, ends[-1])
            else:
                starts.append(start)
                ends.append(end)
        self._starts, self._ends = starts, ends
        self._pending = []


def union(*sets: Iterable[Run]) -> Iterator[Run]:
    """The runs of ascending sets together, ascending and disjoint."""
    at: Run | None = None
    for start, end in merge(*sets):
        if at is not None and start <= at[1]:
            at = at[0], max(at[1], end)
            continue
        if at is not None:
            yield at
        at = start, end
    if at is not None:
        yield at


def holes(runs: Iterable[Run], start: int, end: int) -> Iterator[Run]:
    """The runs of `[start, end)` that are not in these ascending, disjoint runs."""
    at = start
    for a, b in runs:
        if a >= end:
            break
        if a > at:
            yield at, a
        at = max(at, b)
    if at < end:
        yield at, end


def common(left: Iterable[Run], right: Iterable[Run]) -> Iterator[Run]:
    """What is in both of two sets of ascending, disjoint runs."""
    ours, theirs = iter(left), iter(right)
    a, b = next(ours, None), next(theirs, None)
    while a is not None and b is not None:
        start, end = max(a[0], b[0]), min(a[1], b[1])
        if start < end:
            yield start, end
        if a[1] <= b[1]:
            a = next(ours, None)
        else:
            b = next(theirs, None)


def between(runs: Iterable[Run], start: int, end: int) -> Iterator[Run]:
    """What of ascending, disjoint runs lies in `[start, end)`."""
    return common(runs, [(start, end)] if start < end else [])


def count(runs: Iterable[Run]) -> int:
    """How many offsets there are in disjoint runs."""
    return sum(end - start for start, end in runs)
