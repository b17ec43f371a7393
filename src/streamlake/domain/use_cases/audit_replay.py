"""One replay: every record that its plan selects has landed, or was lettered, under its id, once; and nothing else was.

As with live landing the log is read only where neither is: what is visible there and selected is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamlake.domain.errors import PositionLost
from streamlake.domain.model.audit_report import Ranges, ReplayAudit
from streamlake.domain.model.offset_runs import OffsetRuns, between, count, holes, union
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition, Watermarks
from streamlake.domain.model.replay_plans import PartitionPlan, ReplayPlan
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.use_cases.audit_findings import Findings
from streamlake.domain.use_cases.audit_offsets import visible
from streamlake.domain.use_cases.raw_zone import ZonePart

_END = 2**63 - 1


class JudgeReplay:
    """Judges partition after partition of one replay; what is wrong goes to the findings."""

    def __init__(
        self,
        plan: ReplayPlan,
        excused: Mapping[int, Offsets],
        admin: LogAdmin,
        reader: LogReader,
        findings: Findings,
    ) -> None:
        """`excused`: by partition, selected offsets whose loss to retention somebody has accepted."""
        self._plan = plan
        self._excused = excused
        self._admin = admin
        self._reader = reader
        self._findings = findings

    def check_part(self, part: ZonePart) -> None:
        """Could all of its rows be of the replay? (Each partition's offsets are looked at later, in one.)"""
        times, info = self._plan.request.selection.times, part.info
        for moment in (info.first_timestamp, info.last_timestamp):
            if times is not None and not any(start <= moment < end for start, end in times):
                told = f"{part.name}: has a record of {moment} ms since the epoch, which the replay did not select"
                self._findings.add("replay_foreign", told, part.name, replay_id=self._plan.replay_id)
                return

    def judge(
        self, each: PartitionPlan, rows: OffsetRuns, letters: Offsets, source: TopicPartition | None
    ) -> ReplayAudit:
        """One partition; without a source the log has another topic now."""
        lane = self._plan.lane(each.partition)
        done = list(union(rows, letters))
        foreign = Ranges.of(run for a, b in ((0, each.start), (each.until, _END)) for run in between(done, a, b))
        self._say("replay_foreign", lane, f"offsets outside [{each.start}, {each.until}): {foreign}", foreign)
        twice = Ranges.of(rows.twice)
        asked = list(holes(done, each.start, each.until))
        missing, low = self._missing(source, asked, each.until)
        found = Ranges.of(missing)
        self._say("replay_missing", lane, f"{found.offsets} selected records are nowhere: {found}", found)
        excused = self._excused.get(each.partition, Offsets())
        unproven = Ranges.of(hole for a, b in between(asked, 0, low) for hole in holes(between(excused, a, b), a, b))
        landed = count(between(rows, each.start, each.until))
        lettered = count(between(done, each.start, each.until)) - landed
        return ReplayAudit(
            self._plan.replay_id,
            *lane,
            start=each.start,
            until=each.until,
            selected=None if unproven else landed + lettered + found.offsets,
            landed=landed,
            lettered=lettered,
            missing=found,
            duplicated=twice,
            unproven=unproven,
            holds=not (found or twice or foreign or unproven),
        )

    def _missing(
        self, source: TopicPartition | None, asked: list[tuple[int, int]], until: int
    ) -> tuple[OffsetRuns, int]:
        """What of these the log shows and the replay selects; and from where on the log could be asked."""
        times = self._plan.request.selection.times
        marks = Watermarks(until, until) if source is None else self._admin.watermarks([source])[source]
        while True:
            missing, low = OffsetRuns(), min(marks.low, until)
            if source is None:
                return missing, low
            try:
                for offset, timestamp in visible(self._reader, source, between(asked, low, until), until):
                    if times is None or any(start <= timestamp < end for start, end in times):
                        missing.add(offset, offset + 1)
            except PositionLost:  # retention has overtaken this look
                newer = self._admin.watermarks([source])[source]
                if newer.low <= marks.low:
                    raise
                marks = newer
            else:
                return missing, low

    def _say(self, kind: str, lane: Lane, told: str, offsets: Ranges) -> None:
        replay_id = self._plan.replay_id
        whole = f"replay {replay_id}, partition {lane.partition}: {told}"
        self._findings.add(kind, whole, lane=lane, replay_id=replay_id, offsets=offsets)
