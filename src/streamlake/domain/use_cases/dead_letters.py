"""The dead-letter topic of a dataset, read without a group: nobody's position moves, nothing is created.

One pass makes the `Ledger`: which letters there are and which of them are resolved, as runs of offsets. Whatever
shows or redrives letters then reads them again and asks the ledger about each, so that a million letters need the
memory of their runs and no more.

    redriven | discarded    somebody resolved it
    replay                  a replay's evidence; it is never open
    void                    its position is in a live part: the record has landed, whoever lettered it was wrong
    open                    none of these
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge

from streamlake.domain.errors import TopicMissing
from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.letters import (
    DISCARDED,
    REDRIVEN,
    DeadLetter,
    Entry,
    LetterId,
    Resolution,
    Stray,
    read_entry,
    read_identity,
)
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.times import LAST_MS
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.use_cases.raw_zone import RawZone

Progress = Callable[[int, int], None]
"""Told after each batch: how many offsets were read, and how many there are."""

LaneOffsets = dict[Lane, Offsets]

OPEN, VOID, REPLAY = "open", "void", "replay"
STANDINGS = (OPEN, VOID, REDRIVEN, DISCARDED, REPLAY)


def _untold(done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Ledger:
    """Which letters there are, as positions. Of the consumer by their place in the raw topic, of the API by their own
    in the dead-letter topic; a letter of a replay is evidence of that replay, and never open."""

    consumer: LaneOffsets = field(default_factory=dict)
    api: LaneOffsets = field(default_factory=dict)
    replays: dict[str, LaneOffsets] = field(default_factory=dict)
    redriven: LaneOffsets = field(default_factory=dict)
    discarded: LaneOffsets = field(default_factory=dict)
    redriven_to: LaneOffsets = field(default_factory=dict)
    """Where in the raw topic the redriven records lie."""
    redriven_twice: LaneOffsets = field(default_factory=dict)
    """Letters that were sent again to two places: both land, under one ingestion id."""
    repeated: LaneOffsets = field(default_factory=dict)
    """Letters that are there more than once: sent again after a crash."""
    strays: int = 0

    def standing(self, letter: LetterId, landed: Mapping[Lane, Offsets]) -> str:
        """One of `STANDINGS`. `landed`: the rows of live parts."""
        lane, offset = letter.lane, letter.offset
        if letter.replay_id is not None:
            return REPLAY
        if offset in self.redriven.get(lane, ()):
            return REDRIVEN
        if offset in self.discarded.get(lane, ()):
            return DISCARDED
        return VOID if offset in landed.get(lane, ()) else OPEN

    def resolve(self, resolution: Resolution) -> None:
        """Enter a resolution; one that is there twice changes nothing."""
        if resolution.redriven_to is None:
            _add(self.discarded, resolution.letter)
        elif _add(self.redriven_to, resolution.redriven_to) and not _add(self.redriven, resolution.letter):
            _add(self.redriven_twice, resolution.letter)

    def absorb(self, later: Ledger) -> None:
        """Add what another pass found: of another partition, which may hold the same letters again."""
        for mine, theirs, both in (
            (self.consumer, later.consumer, self.repeated),
            (self.redriven, later.redriven, self.redriven_twice),
        ):
            for lane, offsets in theirs.items():
                for start, end in _common(mine.get(lane, ()), offsets):
                    both.setdefault(lane, Offsets()).add(start, end)
        pairs = [(self.consumer, later.consumer), (self.api, later.api)]
        pairs += [(self.redriven, later.redriven), (self.discarded, later.discarded), (self.repeated, later.repeated)]
        pairs += [(self.redriven_to, later.redriven_to), (self.redriven_twice, later.redriven_twice)]
        pairs += [(self.replays.setdefault(replay_id, {}), lanes) for replay_id, lanes in later.replays.items()]
        for mine, theirs in pairs:
            for lane, offsets in theirs.items():
                mine[lane] = Offsets(merge(mine[lane], offsets)) if lane in mine else offsets
        self.strays += later.strays


@dataclass(slots=True)
class LetterCount:
    """How many letters of a kind, and when the first and the last of them failed (milliseconds since the epoch)."""

    count: int = 0
    first_ms: int = LAST_MS
    last_ms: int = 0

    def add(self, letter: DeadLetter) -> None:
        """Count one more."""
        self.count += 1
        self.first_ms = min(self.first_ms, letter.timestamp)
        self.last_ms = max(self.last_ms, letter.timestamp)


class DeadLetters:
    """Reads the letters and resolutions of one dataset. Errors of every method: the log's, `TopicMissing`."""

    def __init__(self, dataset: str, admin: LogAdmin, reader: LogReader) -> None:
        self._topic = dlq_topic(dataset)
        self._admin = admin
        self._reader = reader

    def entries(self, progress: Progress = _untold) -> Iterator[Entry]:
        """Every letter, resolution and stray that is there as of the call, partition by partition, oldest first.

        In bounded memory. A letter sent twice comes twice, with one id.
        """
        for lane, batch in self._batches(progress):
            columns = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, batch.headers, strict=True)
            for offset, timestamp, key, value, headers in columns:
                yield read_entry(LetterId(*lane, offset), timestamp, key, value, headers)

    def letters(
        self, ledger: Ledger, landed: Mapping[Lane, Offsets], progress: Progress = _untold
    ) -> Iterator[tuple[DeadLetter, str]]:
        """Every letter once, with its standing. One that a later pass finds, but the ledger did not, is left out."""
        told: LaneOffsets = {}
        for entry in self.entries(progress):
            if not isinstance(entry, DeadLetter):
                continue
            lane, offset = entry.id.lane, entry.id.offset
            if entry.id.replay_id is None:
                if offset not in ledger.consumer.get(lane, ()) and offset not in ledger.api.get(lane, ()):
                    continue
                if offset in ledger.repeated.get(lane, ()):
                    seen = told.setdefault(lane, Offsets())
                    if offset in seen:
                        continue
                    seen.add(offset, offset + 1)
            yield entry, ledger.standing(entry.id, landed)

    def ledger(self, progress: Progress = _untold) -> Ledger:
        """One pass over all there is."""
        ledger = Ledger()
        current, found = None, Ledger()
        for lane, batch in self._batches(progress):
            if lane != current:
                ledger.absorb(found)
                current, found = lane, Ledger()
            _enter(found, lane, batch)
        ledger.absorb(found)
        return ledger

    def identities(self) -> Iterator[LetterId | Resolution | Stray]:
        """`entries`, but only which letter each is."""
        for lane, batch in self._batches(_untold):
            for offset, value, headers in zip(batch.offsets, batch.values, batch.headers, strict=True):
                yield read_identity(LetterId(*lane, offset), value, headers)

    def _batches(self, progress: Progress) -> Iterator[tuple[Lane, RecordBatch]]:
        info = self._admin.topics([self._topic]).get(self._topic)
        if info is None:
            raise TopicMissing(f"{self._topic}: does not exist; `streamlake topics provision` makes it")
        marks = self._admin.watermarks([TopicPartition(self._topic, number) for number in range(info.partitions)])
        total = sum(mark.high - mark.low for mark in marks.values())
        before = 0
        progress(0, total)
        for source, mark in sorted(marks.items()):
            lane = Lane(info.topic_id, source.partition)
            for batch in self._reader.read(source, mark.low, mark.high):
                yield lane, batch
                progress(before + batch.next_offset - mark.low, total)
            before += mark.high - mark.low
            progress(before, total)


def void_letters(ledger: Ledger, zone: RawZone, progress: Progress = _untold) -> LaneOffsets:
    """The unresolved letters of consumers whose position is in a live part.

    Bodies are read only of parts that claim such a position and whose metadata does not list their rows. `progress` is
    told of dates.
    """
    unresolved = {lane: _without(offsets, ledger, lane) for lane, offsets in ledger.consumer.items()}
    void: LaneOffsets = {}
    dates = zone.dates()
    for done, date in enumerate(dates):
        progress(done, len(dates))
        for part in zone.parts([date]):
            if part.info.replay_id is not None:
                continue
            claims = part.info.claims.items()
            if not any(next(_common(unresolved.get(lane, ()), claimed), None) for lane, claimed in claims):
                continue
            for lane, rows in zone.rows(part).items():
                for start, end in _common(unresolved.get(lane, ()), rows):
                    void.setdefault(lane, Offsets()).add(start, end)
    progress(len(dates), len(dates))
    return void


def _without(offsets: Offsets, ledger: Ledger, lane: Lane) -> Offsets:
    resolved = Offsets(merge(ledger.redriven.get(lane, ()), ledger.discarded.get(lane, ())))
    left = Offsets()
    for start, end in offsets:
        left.update(resolved.gaps(start, end))
    return left


def _enter(ledger: Ledger, lane: Lane, batch: RecordBatch) -> None:
    for offset, value, headers in zip(batch.offsets, batch.values, batch.headers, strict=True):
        place = LetterId(*lane, offset)
        found = read_identity(place, value, headers)
        if isinstance(found, Stray):
            ledger.strays += 1
        elif isinstance(found, Resolution):
            ledger.resolve(found)
        elif found.replay_id is not None:
            _add(ledger.replays.setdefault(found.replay_id, {}), found)
        elif found is place:
            _add(ledger.api, found)
        elif not _add(ledger.consumer, found):
            _add(ledger.repeated, found)


def _add(lanes: LaneOffsets, letter: LetterId) -> bool:
    """Put a letter into a set; was it new?"""
    offsets = lanes.get(letter.lane)
    if offsets is None:
        offsets = lanes[letter.lane] = Offsets()
    if letter.offset in offsets:
        return False
    offsets.add(letter.offset, letter.offset + 1)
    return True


def _common(mine: Iterable[tuple[int, int]], theirs: Offsets) -> Iterator[tuple[int, int]]:
    """Where two sets overlap, in one walk over both."""
    others = iter(theirs)
    b = next(others, None)
    for a in mine:
        while b is not None and b[0] < a[1]:
            if b[1] > a[0]:
                yield max(a[0], b[0]), min(a[1], b[1])
            if b[1] > a[1]:
                break
            b = next(others, None)
