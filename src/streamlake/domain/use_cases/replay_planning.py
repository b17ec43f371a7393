"""Planning replays: from where to where each partition is read, what of it has landed live, what retention has taken.

start   the offset asked for; for times the first record not older than the first of them; else the low watermark
until   the offset asked for, but at most the high watermark now. For times always that: timestamps do not ascend in
        a log, so a record of any time may be anywhere before it, and each one is looked at
lost    what was asked for below the low watermark; for times the rows of live parts that are there no more
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamlake.domain.errors import TopicMissing
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition, Watermarks
from streamlake.domain.model.replay_plans import PartitionPlan, ReplayPlan, ReplayRequest
from streamlake.domain.model.rows import ENVELOPE_BYTES
from streamlake.domain.model.selections import Selection
from streamlake.domain.ports.event_log import LogAdmin, LogReader, TopicInfo
from streamlake.domain.use_cases.land_records import LandingLimits
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart


class PlanReplays:
    """Plans replays of any dataset. Only looks: nothing is written, no position moves."""

    def __init__(
        self, admin: LogAdmin, reader: LogReader, zone_of: Callable[[str], RawZone], limits: LandingLimits
    ) -> None:
        self._admin = admin
        self._reader = reader
        self._zone_of = zone_of
        self._limits = limits

    def plan(
        self, dataset: str, requests: Sequence[ReplayRequest], *, accept_gap: bool, by: str, at: str
    ) -> list[ReplayPlan]:
        """A plan for each request of one dataset, with one look at log and raw zone for all of them.

        Raises `TopicMissing`, `PartitionMissing`, and the errors of log and store.
        """
        topic = raw_topic(dataset)
        info = self._admin.topics([topic]).get(topic)
        if info is None:
            raise TopicMissing(f"{topic}: does not exist; `streamlake topics provision` makes it")
        marks = self._admin.watermarks([TopicPartition(topic, number) for number in range(info.partitions)])
        drafts = [self._draft(request, info, marks) for request in requests]
        for part in self._zone_of(dataset).parts():
            if part.info.replay_id is None:
                for draft in drafts:
                    draft.see(part)
        return [self._finished(draft, accept_gap, by, at) for draft in drafts]

    def _draft(self, request: ReplayRequest, info: TopicInfo, marks: Mapping[TopicPartition, Watermarks]) -> _Draft:
        selection = request.selection
        info.insist_on(selection.offsets)
        chosen = sorted(selection.offsets) or range(info.partitions)
        firsts = self._first_offsets(selection, [TopicPartition(info.name, number) for number in chosen])
        draft = _Draft(request, info)
        for source, first in firsts.items():
            mark = marks[source]
            start, end = selection.offsets.get(source.partition, (None, None))
            until = mark.high if end is None else min(end, mark.high)
            begin = max(mark.low if start is None else start, mark.low)
            if selection.times is not None:
                begin = mark.high if first is None else max(begin, first)
            lost = None
            if selection.times is None and start is not None and start < mark.low:
                lost = (start, mark.low if end is None else min(end, mark.low))
            draft.lanes[Lane(info.topic_id, source.partition)] = _LaneDraft(
                min(begin, until), until, start or 0, mark.low, lost
            )
        return draft

    def _first_offsets(
        self, selection: Selection, sources: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int | None]:
        times = selection.times
        if times is None or times[0][0] == 0:
            return dict.fromkeys(sources, 0)
        return self._admin.offsets_for_times(dict.fromkeys(sources, times[0][0]))

    def _finished(self, draft: _Draft, accept_gap: bool, by: str, at: str) -> ReplayPlan:
        size = draft.row_bytes or self._sampled(draft)
        partitions = tuple(
            PartitionPlan(
                lane.partition, each.start, each.until, each.lost, each.records, len(each.selected), each.bytes(size)
            )
            for lane, each in sorted(draft.lanes.items())
        )
        records = sum(each.records for each in partitions)
        total = sum(each.bytes for each in partitions)
        full = max(-(-total // self._limits.max_bytes), -(-records // self._limits.max_records))
        parts = max(full, len(draft.dates), 1) if records else 0
        return ReplayPlan(draft.request, draft.info.topic_id, partitions, parts, accept_gap, by, at)

    def _sampled(self, draft: _Draft) -> float:
        """About how long a row is, from the first records of the range."""
        for lane, each in draft.lanes.items():
            source = TopicPartition(draft.info.name, lane.partition)
            for batch in self._reader.read(source, each.start, min(each.until, each.start + 1_000)):
                return ENVELOPE_BYTES + sum(len(value or b"") for value in batch.values) / len(batch)
        return ENVELOPE_BYTES


@dataclass(slots=True)
class _LaneDraft:
    start: int
    until: int
    asked_from: int
    low: int
    lost: tuple[int, int] | None
    selected: Offsets = field(default_factory=Offsets)
    """Of the range, what has landed live and may be selected ..."""
    others: int = 0
    """... and how much of it has landed and cannot be."""

    @property
    def records(self) -> int:
        """What has landed is known; of the rest every offset may be a record that is selected."""
        return max(0, self.until - self.start - self.others)

    def bytes(self, row_bytes: float) -> int:
        return round(self.records * row_bytes)

    def lose(self, start: int, end: int) -> None:
        self.lost = (start, end) if self.lost is None else (min(start, self.lost[0]), max(end, self.lost[1]))


@dataclass(slots=True)
class _Draft:
    request: ReplayRequest
    info: TopicInfo
    lanes: dict[Lane, _LaneDraft] = field(default_factory=dict)
    dates: set[str] = field(default_factory=set)
    _bytes: float = 0
    _records: int = 0

    @property
    def row_bytes(self) -> float:
        """What a row of the live parts seen takes; 0 where there is none."""
        return self._bytes / self._records if self._records else 0

    def see(self, part: ZonePart) -> None:
        """One live part. Where its list of rows did not fit, its claims are near enough."""
        rows = part.info.claims if part.info.rows is None else part.info.rows
        possible = self.request.selection.may_hold(part.info.first_timestamp, part.info.last_timestamp)
        touched = 0
        for lane, offsets in rows.items():
            draft = self.lanes.get(lane)
            if draft is None:
                continue
            if possible and self.request.selection.times is not None:
                for start, end in _within(offsets, draft.asked_from, draft.low):
                    draft.lose(start, end)
            here = Offsets(_within(offsets, draft.start, draft.until))
            touched += len(here)
            if possible:
                draft.selected.update(here)
            else:
                draft.others += len(here)
        if touched and possible:
            self.dates.add(part.date)
            self._bytes += part.stored.size
            self._records += part.info.records


def _within(offsets: Iterable[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    return [(max(a, start), min(b, end)) for a, b in offsets if a < end and b > start]
