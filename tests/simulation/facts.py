"""What is true of a simulated log, known to nobody but the judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamlake.domain.model.positions import Lane
from streamlake.domain.model.times import DAY_MS, iso_date

DATASET = "sim"
FIRST_DAY = 20_000
"""The first of the simulated dates, in days since the epoch."""

DAYS = 3
DATES = [iso_date(FIRST_DAY + number) for number in range(DAYS)]
PARTITIONS = 4

GOOD, DISPUTED, BAD, NO_DATE, MARKER = "good", "disputed", "bad", "no date", "marker"
"""Kinds of record: a disputed one is good by one contract and bad by the other; a marker is no record at all, as
transactions leave them; `NO_DATE` has no timestamp."""

START = {GOOD: b'{"id":"', DISPUTED: b'{"di":"', BAD: b'{"no":"', NO_DATE: b'{"id":"', MARKER: b"marker"}


class Broken(Exception):
    """A promise was broken, seen while it happened."""


@dataclass(slots=True)
class LaneFacts:
    """One partition of one topic id."""

    lane: Lane
    kinds: list[str] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    landed: dict[int, int] = field(default_factory=dict)
    """Offset -> number of the live part that has it."""
    lettered: set[int] = field(default_factory=set)
    first_lettered: set[int] = field(default_factory=set)
    """Lettered before they landed, if they ever did: a letter that came to be void."""
    excused: set[int] = field(default_factory=set)
    """In a gap that the operator made and accepted."""
    done_to: int = 0
    """Everything below is landed, lettered, excused or a marker."""
    reset_to: int = 0
    """How far ahead an operator has ever reset the group."""
    disturbed: bool = False
    """A gap here has a cause: a reset ahead, or retention together with a reset."""

    second_life: bool = False
    """The topic had a predecessor of the same name. A snapshot of both is dropped, what was sealed after it lands, and
    then what was dropped is read again: out of order, though once."""

    def advance(self) -> int:
        """The end of what is done without a hole."""
        at, end = self.done_to, len(self.kinds)
        while at < end and (at in self.landed or at in self.lettered or self.kinds[at] == MARKER or at in self.excused):
            at += 1
        self.done_to = at
        return at

    def end(self) -> int:
        """The position after the last visible record."""
        end = len(self.kinds)
        while end and self.kinds[end - 1] == MARKER:
            end -= 1
        return end

    def date_of(self, offset: int) -> str:
        return DATES[self.days[offset]]

    def timestamp(self, offset: int) -> int:
        """Milliseconds since the epoch; later records may be older."""
        return (FIRST_DAY + self.days[offset]) * DAY_MS + offset


def payload(kind: str, topic_id: str, partition: int, offset: int) -> bytes:
    """Bytes that tell where they come from."""
    return START[kind] + f'{topic_id}/{partition}/{offset}"}}'.encode()


@dataclass(slots=True)
class Facts:
    """Every lane there ever was, and what happened."""

    lanes: dict[Lane, LaneFacts] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Topic ids of deleted topics."""
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
