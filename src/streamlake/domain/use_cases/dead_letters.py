"""The dead-letter topic of a dataset, read without a group: nobody's position moves, nothing is created.

One pass makes the `Ledger`: which letters there are and which of them are resolved, as runs of offsets. Whatever
shows or redrives letters then reads them again and asks the ledger about each, so that a million letters need the
memory of their runs and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge

from streamlake.domain.errors import TopicMissing
from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.letters import DISCARDED, Entry, LetterId, Resolution, Stray, read_entry, read_identity
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import LogAdmin, LogReader

Progress = Callable[[int, int], None]
"""Told after each batch: how many offsets were read, and how many there are."""

LaneOffsets = dict[Lane, Offsets]


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
    strays: int = 0

    def resolved(self, letter: LetterId) -> bool:
        """Was it redriven or discarded?"""
        lane, offset = letter.lane, letter.offset
        return offset in self.redriven.get(lane, ()) or offset in self.discarded.get(lane, ())

    def absorb(self, later: Ledger) -> None:
        """Add what another pass found: of another partition, which may hold the same letters again."""
        pairs = [(self.consumer, later.consumer), (self.api, later.api)]
        pairs += [(self.redriven, later.redriven), (self.discarded, later.discarded)]
        pairs += [(self.replays.setdefault(replay_id, {}), lanes) for replay_id, lanes in later.replays.items()]
        for mine, theirs in pairs:
            for lane, offsets in theirs.items():
                mine[lane] = Offsets(merge(mine[lane], offsets)) if lane in mine else offsets
        self.strays += later.strays


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


def _enter(ledger: Ledger, lane: Lane, batch: RecordBatch) -> None:
    for offset, value, headers in zip(batch.offsets, batch.values, batch.headers, strict=True):
        place = LetterId(*lane, offset)
        found = read_identity(place, value, headers)
        if isinstance(found, Stray):
            ledger.strays += 1
        elif isinstance(found, Resolution):
            _add(ledger.discarded if found.outcome == DISCARDED else ledger.redriven, found.letter)
        elif found.replay_id is not None:
            _add(ledger.replays.setdefault(found.replay_id, {}), found)
        else:
            _add(ledger.api if found is place else ledger.consumer, found)


def _add(lanes: LaneOffsets, letter: LetterId) -> None:
    offsets = lanes.get(letter.lane)
    if offsets is None:
        offsets = lanes[letter.lane] = Offsets()
    offsets.add(letter.offset, letter.offset + 1)
