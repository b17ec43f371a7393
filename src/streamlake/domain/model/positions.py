"""Where a record is, and sets of where records are. Offsets are always *next to read*; ranges are half-open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """A partition by its topic's name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Lane(NamedTuple):
    """A partition by its topic's *id*: a recreated topic is another topic, whatever its name."""

    topic_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Position:
    """A committed position: the next offset to read, with the text committed beside it (`""` for none)."""

    offset: int
    metadata: str = ""

    def __post_init__(self) -> None:
        if self.offset < 0:
            raise ValueError(f"position: offset must be >= 0, is {self.offset}")


@dataclass(frozen=True, slots=True)
class Watermarks:
    """What a partition holds: `[low, high)`. `low` moves with retention; `high` is the next offset to be given."""

    low: int
    high: int


class Offsets:
    """A set of offsets kept as sorted, disjoint, half-open intervals.

    Adding in order is O(1), anywhere else O(intervals); membership is O(log intervals).
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in intervals:
            self.add(start, end)

    @classmethod
    def of(cls, offsets: Iterable[int]) -> Offsets:
        """The set of these single offsets, ascending ones fastest."""
        made = cls()
        for offset in offsets:
            made.add(offset, offset + 1)
        return made

    def add(self, start: int, end: int) -> None:
        """Add `[start, end)`, merging what touches. Raises ValueError for a negative or backward interval."""
        if not 0 <= start <= end:
            raise ValueError(f"interval must be 0 <= start <= end, is [{start}, {end})")
        if start == end:
            return
        starts, ends = self._starts, self._ends
        if not ends or start > ends[-1]:
            starts.append(start)
            ends.append(end)
            return
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def update(self, other: Iterable[tuple[int, int]]) -> None:
        """Add every interval of another set."""
        for start, end in other:
            self.add(start, end)

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._ends[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        """How many offsets, not how many intervals."""
        return sum(self._ends) - sum(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Offsets):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # mutable, so never a dictionary key

    def __repr__(self) -> str:
        return f"Offsets({' '.join(f'[{start},{end})' for start, end in self)})"

    def end_of_run_from(self, start: int) -> int:
        """The end of the contiguous run that holds or touches `start`; `start` itself where there is none."""
        at = bisect_right(self._starts, start) - 1
        return max(start, self._ends[at]) if at >= 0 and self._ends[at] >= start else start

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The intervals of `[start, end)` that are not in this set."""
        found = []
        at = start
        for a, b in self:
            if b <= at:
                continue
            if a >= end:
                break
            if a > at:
                found.append((at, a))
            at = b
        if at < end:
            found.append((at, end))
        return found

    def before(self, cut: int) -> Offsets:
        """The part of this set below `cut`."""
        return Offsets((start, min(end, cut)) for start, end in self if start < cut)

    def since(self, cut: int) -> Offsets:
        """The part of this set at or above `cut`."""
        return Offsets((max(start, cut), end) for start, end in self if end > cut)

    def overlaps(self, start: int, end: int) -> bool:
        """Is any offset of `[start, end)` in this set?"""
        at = bisect_right(self._ends, start)
        return at < len(self._starts) and self._starts[at] < end and start < end
