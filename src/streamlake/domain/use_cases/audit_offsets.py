"""One partition's offsets: what has landed and what was lettered, against the log.

Everything is a set of runs, and the log is read only where an offset is in neither: what it shows there is missing,
what it does not show was never a record (transactions and compaction leave such gaps), and what it no longer holds
cannot be proved either way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from streamlake.domain.errors import PositionLost
from streamlake.domain.model.audit_report import PartitionAudit, Ranges
from streamlake.domain.model.offset_runs import OffsetRuns, Run, between, common, count, holes, union
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition, Watermarks
from streamlake.domain.model.times import LAST_MS, day_of_ms, iso_date, ms_of_date
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.use_cases.audit_findings import Findings

NEAR = 50_000
"""Runs nearer than this are looked up in one read: opening a read costs about as much as reading so many records."""

_END = 2**63 - 1


@dataclass(slots=True)
class Tally:
    """What the parts say, lane by lane, as runs."""

    date: str | None
    """The only date to be judged, if there is one."""
    committed: Mapping[Lane, int]
    live: dict[Lane, OffsetRuns] = field(default_factory=dict)
    dated: dict[Lane, OffsetRuns] = field(default_factory=dict)
    """Of `live`, what is of the date."""
    replays: dict[tuple[str, Lane], OffsetRuns] = field(default_factory=dict)
    claims_ahead: dict[Lane, dict[str, Offsets]] = field(default_factory=dict)
    """Date -> what live parts claim at or above the committed position."""
    claim_ends: dict[Lane, int] = field(default_factory=dict)

    def add(self, date: str, replay_id: str | None, rows: Mapping[Lane, Offsets]) -> None:
        """The rows of one part."""
        for lane, offsets in rows.items():
            if replay_id is not None:
                self.replays.setdefault((replay_id, lane), OffsetRuns()).update(offsets)
                continue
            self.live.setdefault(lane, OffsetRuns()).update(offsets)
            if date == self.date:
                self.dated.setdefault(lane, OffsetRuns()).update(offsets)

    def claim(self, date: str, claims: Mapping[Lane, Offsets]) -> None:
        """The claims of one live part."""
        for lane, offsets in claims.items():
            self.claim_ends[lane] = max(self.claim_ends.get(lane, 0), *(end for _, end in offsets))
            ahead = offsets.since(self.committed.get(lane, 0))
            if ahead and self.date in (None, date):
                self.claims_ahead.setdefault(lane, {}).setdefault(date, Offsets()).update(ahead)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one lane beside the log. Ascending, disjoint runs all of them."""

    live: Iterable[Run]
    letters: Offsets
    accepted: Offsets


@dataclass(slots=True)
class _Seen:
    """What the log shows of the offsets looked up."""

    missing: OffsetRuns = field(default_factory=OffsetRuns)
    accepted: OffsetRuns = field(default_factory=OffsetRuns)
    lettered: OffsetRuns = field(default_factory=OffsetRuns)
    other_dates: OffsetRuns = field(default_factory=OffsetRuns)
    falsely_claimed: OffsetRuns = field(default_factory=OffsetRuns)

    def gaps(self, asked: Iterable[Run]) -> Iterator[Run]:
        """What was asked for and is no visible record."""
        seen = list(union(self.missing, self.accepted, self.lettered, self.other_dates))
        for start, end in asked:
            yield from holes(between(seen, start, end), start, end)


class JudgeOffsets:
    """Judges lane after lane; what is wrong goes to the findings."""

    def __init__(self, admin: LogAdmin, reader: LogReader, tally: Tally, findings: Findings) -> None:
        self._admin = admin
        self._reader = reader
        self._tally = tally
        self._findings = findings

    def current(
        self, source: TopicPartition, lane: Lane, marks: Watermarks, letters: Offsets, accepted: Offsets
    ) -> PartitionAudit:
        """A partition of the raw topic as it is now. `marks` were read after parts and letters were."""
        evidence = Evidence(self._tally.live.get(lane, OffsetRuns()), letters, accepted)
        self._check_ends(lane, marks, evidence)
        while True:
            try:
                return self._judge(source, lane, marks, evidence)
            except PositionLost:  # retention has overtaken this look: judge what is left
                newer = self._admin.watermarks([source])[source]
                if newer.low <= marks.low:
                    raise
                marks = Watermarks(newer.low, marks.high)

    def other(self, lane: Lane, letters: Offsets, accepted: Offsets) -> PartitionAudit:
        """A partition of a topic id that is the raw topic's no more, or never was: judged for what is there twice."""
        live = self._tally.live.get(lane, OffsetRuns())
        there = list(union(live, letters))
        end = there[-1][1] if there else 0
        unproven = Ranges.of(holes(union(there, accepted), 0, end))
        twice = self._twice(lane)
        return PartitionAudit(
            *lane,
            current=False,
            log_start=None,
            log_end=None,
            committed=None,
            judged_from=0,
            judged_to=0,
            visible=0,
            landed=len(live),
            lettered=count(there) - len(live),
            accepted=0,
            missing=Ranges(),
            duplicated=twice,
            gaps=Ranges(),
            unproven=unproven,
            void_letters=count(common(live, letters)),
            holds=not twice,
        )

    def _check_ends(self, lane: Lane, marks: Watermarks, evidence: Evidence) -> None:
        committed, claimed = self._tally.committed.get(lane, 0), self._tally.claim_ends.get(lane, 0)
        beyond = f"the log ends at {marks.high}"
        for kind, what, end in (
            ("committed_beyond_log", f"{committed} is committed", committed),
            ("claim_beyond_log", f"parts claim up to {claimed}", claimed),
        ):
            self._say(kind, lane, f"{what}, {beyond}", Ranges.of([(marks.high, end)] if end > marks.high else []))
        rows = Ranges.of(between(evidence.live, marks.high, _END))
        self._say("foreign_rows", lane, f"rows of offsets that were never given, {beyond}: {rows}", rows)
        letters = Ranges.of(between(evidence.letters, marks.high, _END))
        self._say("foreign_letter", lane, f"letters of offsets that were never given, {beyond}: {letters}", letters)

    def _say(self, kind: str, lane: Lane, told: str, offsets: Ranges) -> None:
        self._findings.add(kind, f"partition {lane.partition}: {told}", lane=lane, offsets=offsets)

    def _twice(self, lane: Lane) -> Ranges:
        """Said as a finding too, where there is any."""
        live = self._tally.live.get(lane, OffsetRuns())
        twice: Iterable[Run] = live.twice
        if self._tally.date is not None:
            twice = common(twice, self._tally.dated.get(lane, ()))
        found = Ranges.of(twice)
        self._say("duplicated", lane, f"{found.offsets} offsets are in more than one row: {found}", found)
        return found

    def _judge(self, source: TopicPartition, lane: Lane, marks: Watermarks, evidence: Evidence) -> PartitionAudit:
        committed = self._tally.committed.get(lane)
        start = self._first_of_date(source, marks)
        end = max(start, min(committed or 0, marks.high))
        done = list(union(evidence.live, evidence.letters))
        asked = list(holes(evidence.live if self._tally.date else done, start, end))
        ahead = self._ahead(lane, max(start, end), marks.high, done)
        seen = self._look_up(source, asked, ahead, evidence, marks.high)
        missing = Ranges.of(seen.missing)
        self._say("missing", lane, f"{missing.offsets} records are committed and nowhere: {missing}", missing)
        falsely = Ranges.of(seen.falsely_claimed)
        self._say("false_claim", lane, f"{falsely.offsets} records are claimed and nowhere: {falsely}", falsely)
        ours = evidence.live if self._tally.date is None else self._tally.dated.get(lane, ())
        landed = count(between(ours, start, end))
        if self._tally.date is None:
            gaps = Ranges.of(seen.gaps(asked))
            lettered = count(between(done, start, end)) - landed
            visible = end - start - gaps.offsets
        else:
            gaps, lettered = Ranges(), len(seen.lettered)
            visible = landed + lettered + len(seen.accepted) + missing.offsets
        twice, accepted = self._twice(lane), len(seen.accepted)
        return PartitionAudit(
            *lane,
            current=True,
            log_start=marks.low,
            log_end=marks.high,
            committed=committed,
            judged_from=start,
            judged_to=end,
            visible=visible,
            landed=landed,
            lettered=lettered,
            accepted=accepted,
            missing=missing,
            duplicated=twice,
            gaps=gaps,
            unproven=self._unproven(lane, marks.low, done, evidence.accepted),
            void_letters=count(common(evidence.live, evidence.letters)),
            holds=visible == landed + lettered + accepted and not twice,
        )

    def _first_of_date(self, source: TopicPartition, marks: Watermarks) -> int:
        """Where to begin: every record before it is older than the date."""
        if self._tally.date is None:
            return marks.low
        first = self._admin.offsets_for_times({source: ms_of_date(self._tally.date)})[source]
        return marks.high if first is None else max(first, marks.low)

    def _ahead(self, lane: Lane, start: int, end: int, done: list[Run]) -> dict[str, Offsets]:
        """Date -> what is claimed above the committed position, and neither landed nor lettered."""
        claimed = self._tally.claims_ahead.get(lane, {})
        left = {
            date: Offsets(run for a, b in between(claims, start, end) for run in holes(between(done, a, b), a, b))
            for date, claims in claimed.items()
        }
        return {date: runs for date, runs in left.items() if runs}

    def _look_up(
        self,
        source: TopicPartition,
        asked: list[Run],
        ahead: Mapping[str, Offsets],
        evidence: Evidence,
        high: int,
    ) -> _Seen:
        seen = _Seen()
        limit = asked[-1][1] if asked else 0
        for offset, timestamp in visible(self._reader, source, union(asked, *ahead.values()), high):
            dated = iso_date(day_of_ms(timestamp)) if 0 <= timestamp < LAST_MS else None
            if offset >= limit:
                if dated is not None and offset in ahead.get(dated, ()) and offset not in evidence.accepted:
                    seen.falsely_claimed.add(offset, offset + 1)
                continue
            if self._tally.date not in (None, dated):
                kept = seen.other_dates
            elif offset in evidence.letters:
                kept = seen.lettered
            else:
                kept = seen.accepted if offset in evidence.accepted else seen.missing
            kept.add(offset, offset + 1)
        return seen

    def _unproven(self, lane: Lane, low: int, done: list[Run], accepted: Offsets) -> Ranges:
        """What is in neither, below the log's start. Of one date: as far as its parts reach."""
        unproven = holes(union(done, accepted), 0, low)
        if self._tally.date is not None:
            dated = list(self._tally.dated.get(lane, ()))
            unproven = between(unproven, dated[0][0], dated[-1][1]) if dated else iter(())
        return Ranges.of(unproven)


def visible(reader: LogReader, source: TopicPartition, wanted: Iterable[Run], until: int) -> Iterator[tuple[int, int]]:
    """Offset and timestamp of every visible record in ascending runs, all below `until`. Raises `PositionLost`."""
    runs = iter(wanted)
    run = next(runs, None)
    while run is not None:
        for batch in reader.read(source, run[0], until):
            while run is not None and run[0] < batch.next_offset:
                first, after = bisect_left(batch.offsets, run[0]), bisect_left(batch.offsets, run[1])
                yield from zip(batch.offsets[first:after], batch.timestamps[first:after], strict=True)
                run = next(runs, None) if run[1] <= batch.next_offset else (batch.next_offset, run[1])
            if run is None or run[0] > batch.next_offset + NEAR:
                break
        else:
            return  # from here on the log shows nothing
