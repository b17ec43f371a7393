"""Where a partition is read from. Never guessed: `auto.offset.reset` is `error`, and every start is decided here.

    the commit names this topic id   and is in the log              start there
                                     retention overtook it          halt: a gap, [committed, low)
                                     is beyond the high watermark   halt: the log was cut short; nothing can accept that
    the commit names another id                                     halt: a gap, the topic was recreated
    no commit, or one without our metadata (an operator's reset, a new or expired group):
      start = committed or low       <= frontier                    go on; what has landed is not landed again
                                     = low, topic id never seen     go on: a new topic, or a new deployment
                                     > frontier                     halt: a gap, [frontier, start)

The frontier is the first offset, from the low watermark on, of a visible record that is neither a row of a live part,
nor named by a consumer-stage letter, nor in a gap that was accepted. Rows count, not claims: a claim is of one date,
and after a crash between two dates of a snapshot the other date's records below its end have not landed (ADR 5). Where
retention went past all of it, it is the end of the last run below: what lies between was never landed and is no more.
`streamlake resume --accept-gap` records a gap under `ops/gaps/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass
from functools import cache

from streamlake.domain.errors import AlreadyExists, OperatorFault, PositionLost, TopicMissing, TopicRecreated
from streamlake.domain.model.letters import LetterId
from streamlake.domain.model.positions import Lane, Offsets, Position, TopicPartition, Watermarks
from streamlake.domain.model.snapshots import committed_topic_id
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.raw_zone import RawZone


@dataclass(frozen=True, slots=True)
class Start:
    """Read from `offset` on; of these, up to `reread_until` were landed or lettered before."""

    offset: int
    reread_until: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `[start, end)` that were never landed and cannot be read by going on: an operator has to accept them.

    `replaced_topic_id` is the id that was committed, where the topic was recreated.
    """

    dataset: str
    topic: str
    topic_id: str
    partition: int
    start: int
    end: int
    replaced_topic_id: str | None

    def __str__(self) -> str:
        name = f"{self.topic}[{self.partition}]"
        way = f"`streamlake resume --dataset {self.dataset} --partition {self.partition} --accept-gap` goes on"
        if self.replaced_topic_id is not None:
            return f"{name}: committed for topic id {self.replaced_topic_id}, it is {self.topic_id} now; {way}"
        return f"{name}: offsets [{self.start}, {self.end}) have not landed and are not ahead; {way}"


class StartPositions:
    """Decides the starts of one dataset's partitions."""

    def __init__(
        self,
        dataset: str,
        store: ObjectStore,
        formats: Mapping[str, PartFormat],
        admin: LogAdmin,
        reader: LogReader,
    ) -> None:
        self._dataset = dataset
        self._store = store
        self._zone = RawZone(dataset, store, formats)
        self._admin = admin
        self._reader = reader
        self._letters = DeadLetters(dataset, admin, reader)
        self._landed: Callable[[], Mapping[Lane, Offsets]] = self._zone.landed

    def begin(self) -> StartPositions:
        """The same for one round of decisions: partitions that need the frontier share one listing of the raw zone.

        Begin after the committed positions were read; what lands meanwhile only makes a frontier too low, never too
        high.
        """
        begun = copy(self)
        begun._landed = _once(self._zone.landed)  # noqa: SLF001 - its own
        return begun

    def decide(
        self, source: TopicPartition, topic_id: str, marks: Watermarks, committed: Position | None
    ) -> Start | Gap:
        """The start, or the gap that stops it. Raises `PositionLost` where the log was cut short, and the errors of
        log and store where the frontier has to be looked up."""
        committed_id = committed_topic_id(committed.metadata) if committed else None
        if committed_id is not None and committed_id != topic_id:
            return self._unless_accepted(source, topic_id, 0, marks.low, committed_id)
        if committed and committed.offset > marks.high:
            raise PositionLost(
                f"{source}: committed {committed.offset} is beyond the high watermark {marks.high}: the log was cut"
                " short (unclean election, restored broker), and its offsets would be given twice: recreate the topic"
            )
        if committed and committed_id is not None:
            if committed.offset >= marks.low:
                return Start(committed.offset, committed.offset)
            return self._unless_accepted(source, topic_id, committed.offset, marks.low)
        return self._by_frontier(source, topic_id, marks, committed)

    def accept(self, gap: Gap, by: str, at: str) -> str:
        """Record a gap as accepted, by whom and when; returns the object's name. Accepting it again changes nothing."""
        name = f"{gaps_folder(self._dataset)}{gap.topic_id}-{gap.partition}-{gap.start}-{gap.end}.json"
        body = json.dumps({"v": 1, **asdict(gap), "by": by, "at": at}).encode()
        with suppress(AlreadyExists):
            self._store.create(name, body, content_type="application/json", metadata={})
        return name

    def _unless_accepted(
        self, source: TopicPartition, topic_id: str, start: int, end: int, replaced: str | None = None
    ) -> Start | Gap:
        gap = Gap(self._dataset, source.topic, topic_id, source.partition, start, end, replaced)
        accepted = any(
            known.start <= start and known.end >= end and known.replaced_topic_id == replaced
            for known in self._accepted(Lane(topic_id, source.partition))
        )
        return Start(end, end) if accepted else gap

    def _by_frontier(
        self, source: TopicPartition, topic_id: str, marks: Watermarks, committed: Position | None
    ) -> Start | Gap:
        if marks.high == 0:
            return Start(0, 0)  # never had a record: the raw zone need not be listed to know it
        lane = Lane(topic_id, source.partition)
        start = max(marks.low, committed.offset) if committed else marks.low
        done = Offsets(self._landed().get(lane, ()))
        for known in self._accepted(lane):
            done.add(known.start, known.end)
        frontier = _frontier(done, marks.low)
        never_seen = not done.before(marks.low + 1)
        if start > frontier or (never_seen and marks.low > 0):
            for offset in self._lettered(lane):
                done.add(offset, offset + 1)
            frontier = _frontier(done, marks.low)
        if marks.low <= frontier < start:
            frontier = self._first_not_done(source, topic_id, done, frontier, start)
        if start <= frontier:
            return Start(start, frontier)
        return Gap(self._dataset, source.topic, topic_id, source.partition, frontier, start, None)

    def _first_not_done(self, source: TopicPartition, topic_id: str, done: Offsets, start: int, end: int) -> int:
        """The first visible record of `[start, end)` that is not done; `end` if there is none, only markers."""
        for batch in self._reader.read(source, start, end):
            for offset in batch.offsets:
                if offset not in done:
                    return offset
        # A topic that was made anew while it was read has none of the old one's records: that proves nothing.
        info = self._admin.topics([source.topic]).get(source.topic)
        if info is None or info.topic_id != topic_id:
            raise TopicRecreated(f"{source}: the topic was deleted while its start was sought")
        return end

    def _lettered(self, lane: Lane) -> Iterator[int]:
        with suppress(TopicMissing):
            for found in self._letters.identities():
                if isinstance(found, LetterId) and found.lane == lane and found.replay_id is None:
                    yield found.offset

    def _accepted(self, lane: Lane) -> Iterator[Gap]:
        for _, gap in accepted_gaps(self._store, self._dataset, f"{lane.topic_id}-{lane.partition}-"):
            if gap and (gap.topic_id, gap.partition) == lane:  # an id may end in what looks like a partition
                yield gap


def gaps_folder(dataset: str) -> str:
    """Where the accepted gaps of a dataset are."""
    return f"ops/gaps/{dataset}/"


def accepted_gaps(store: ObjectStore, dataset: str, beginning: str = "") -> Iterator[tuple[str, Gap | None]]:
    """Every gap that was accepted, after the name of its object; None where that cannot be read as one, which accepts
    nothing. Raises the store's errors."""
    for found in store.list(gaps_folder(dataset) + beginning):
        try:
            told = json.loads(store.read(found.name)[1])
            gap = Gap(**{field: told[field] for field in Gap.__slots__})
            Offsets([(gap.start, gap.end)])
        except (ValueError, KeyError, TypeError):
            yield found.name, None
        else:
            yield found.name, gap


def _once(look: Callable[[], Mapping[Lane, Offsets]]) -> Callable[[], Mapping[Lane, Offsets]]:
    """`look`, asked once: what it said, or what an operator has to mend, is said again to each who asks."""
    known = cache(look)
    faults: list[OperatorFault] = []

    def said() -> Mapping[Lane, Offsets]:
        if faults:
            raise faults[0]
        try:
            return known()
        except OperatorFault as fault:
            faults.append(fault)
            raise

    return said


def _frontier(done: Offsets, low: int) -> int:
    end = done.end_of_run_from(low)
    below = list(done.before(low))
    return below[-1][1] if end == low and below else end
