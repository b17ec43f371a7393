"""The audit: what was committed against what was landed and lettered, proved from storage and log alone.

The order of the looks makes it right beside live landing, without stopping anybody:

    1. committed positions      what is committed was landed or lettered before
    2. accepted gaps, parts     so it is found here ...
    3. dead letters             ... or here
    4. watermarks               what 2 and 3 found lies below the log's end
    5. lookups in the log       of what is below 1 and in neither 2 nor 3

Rows are counted, claims are only held against them (ADR 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from streamlake.domain.errors import TopicMissing, TopicRecreated
from streamlake.domain.model.audit_report import (
    REPORT_VERSION,
    AuditReport,
    Finding,
    PartitionAudit,
    Ranges,
    Scope,
    Verdict,
    ZoneAudit,
)
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.snapshots import committed_topic_id
from streamlake.domain.ports.event_log import LogAdmin, LogReader, TopicInfo
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.audit_findings import Findings
from streamlake.domain.use_cases.audit_offsets import JudgeOffsets, Tally
from streamlake.domain.use_cases.audit_parts import StaleRollUp, ZoneWalk
from streamlake.domain.use_cases.dead_letters import DeadLetters, Ledger
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart
from streamlake.domain.use_cases.start_positions import Gap, accepted_gaps

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


def _untold(doing: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class _Log:
    """The raw topic and what is committed of it."""

    topic: TopicInfo | None
    committed: Mapping[Lane, int]
    notes: list[Finding]


class Audit:
    """Audits one dataset. Reads only: creates nothing, moves no group."""

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
        self._formats = formats
        self._admin = admin
        self._reader = reader
        self._zone = RawZone(dataset, store, formats)
        self._raw = raw_topic(dataset)

    def run(self, scope: Scope, at: str, progress: Progress = _untold) -> AuditReport:
        """Look once. `at` is the time now (RFC 3339). Raises the errors of log and store, and `TopicRecreated` where
        that happened meanwhile."""
        findings = Findings()
        log = self._look_at_log()
        gaps = list(self._accepted_gaps(findings))
        tally = Tally(scope.date, log.committed)
        walk = ZoneWalk(self._dataset, self._store, self._formats, findings)
        zone = self._walk(walk, scope, tally, findings, progress)
        ledger = self._letters(findings, progress)
        partitions = self._judge(scope, log.topic, tally, ledger, gaps, findings, progress)
        self._judge_replays(tally, findings)
        notes = [*log.notes, *self._notes(walk.stale, partitions, gaps, log.topic), *findings.cut]
        return AuditReport(
            version=REPORT_VERSION,
            dataset=self._dataset,
            topic=self._raw,
            topic_id=log.topic.topic_id if log.topic else None,
            scope=scope,
            at=at,
            verdict=_verdict(findings.kept, partitions, log.topic),
            findings=findings.kept,
            notes=notes,
            partitions=partitions,
            replays=[],
            zone=replace(zone, prefixes=walk.prefixes),
        )

    def _look_at_log(self) -> _Log:
        topic = self._admin.topics([self._raw]).get(self._raw)
        if topic is None:
            told = f"{self._raw}: does not exist: nothing can be looked up"
            return _Log(None, {}, [Finding("topic_missing", told)])
        sources = [TopicPartition(self._raw, number) for number in range(topic.partitions)]
        committed: dict[Lane, int] = {}
        notes = []
        for source, position in self._admin.group_offsets(consumer_group(self._dataset), sources).items():
            named = committed_topic_id(position.metadata)
            if named in (None, topic.topic_id):
                committed[Lane(topic.topic_id, source.partition)] = position.offset
            else:
                told = f"{source}: {position.offset} is committed for topic id {named}, it is {topic.topic_id} now"
                notes.append(Finding("other_commit", told, [], topic.topic_id, source.partition))
        return _Log(topic, committed, notes)

    def _accepted_gaps(self, findings: Findings) -> Iterator[Gap]:
        for name, gap in accepted_gaps(self._store, self._dataset):
            if gap is None:
                findings.add("gap_unreadable", f"{name}: is not an accepted gap, and accepts nothing", name)
            else:
                yield gap

    def _walk(self, walk: ZoneWalk, scope: Scope, tally: Tally, findings: Findings, progress: Progress) -> ZoneAudit:
        seen = ZoneAudit()
        dates = self._zone.dates()
        progress("parts", 0, len(dates))
        for part in walk.parts(scope.date):
            rows = self._rows(part, findings)
            tally.add(part.date, part.info.replay_id, rows)
            if part.info.replay_id is None:
                tally.claim(part.date, part.info.claims)
            if scope.date in (None, part.date):
                seen = _counted(seen, part)
            progress("parts", min(len(dates), walk.prefixes), len(dates))
        progress("parts", len(dates), len(dates))
        return seen

    def _rows(self, part: ZonePart, findings: Findings) -> Mapping[Lane, Offsets]:
        try:
            return self._zone.rows(part)
        except (ValueError, KeyError, TypeError) as damaged:
            told = f"{part.name}: the body is not what a part's is ({type(damaged).__name__})"
            findings.add("body_damaged", told, part.name)
            return {}

    def _letters(self, findings: Findings, progress: Progress) -> Ledger:
        try:
            ledger = DeadLetters(self._dataset, self._admin, self._reader).ledger(
                lambda done, total: progress("dead letters", done, total)
            )
        except TopicMissing:
            return Ledger()
        if ledger.strays:
            told = f"{dlq_topic(self._dataset)}: {ledger.strays} records are neither letters nor resolutions"
            findings.add("letter_unreadable", told)
        return ledger

    def _judge(
        self,
        scope: Scope,
        topic: TopicInfo | None,
        tally: Tally,
        ledger: Ledger,
        gaps: Iterable[Gap],
        findings: Findings,
        progress: Progress,
    ) -> list[PartitionAudit]:
        accepted: dict[Lane, Offsets] = {}
        for gap in gaps:
            accepted.setdefault(Lane(gap.topic_id, gap.partition), Offsets()).add(gap.start, gap.end)
        sources = [TopicPartition(self._raw, number) for number in range(topic.partitions if topic else 0)]
        marks = self._admin.watermarks(sources) if sources else {}
        current = {Lane(topic.topic_id, source.partition): source for source in sources} if topic else {}
        judge = JudgeOffsets(self._admin, self._reader, tally, findings)
        lanes = sorted(
            lane
            for lane in {*current, *tally.live, *ledger.consumer, *accepted}
            if scope.partition in (None, lane.partition)
        )
        found = []
        for done, lane in enumerate(lanes):
            progress("partitions", done, len(lanes))
            letters, excused = ledger.consumer.get(lane, Offsets()), accepted.get(lane, Offsets())
            if lane in current:
                source = current[lane]
                found.append(judge.current(source, lane, marks[source], letters, excused))
            else:
                if topic is not None and lane.topic_id == topic.topic_id:
                    self._no_such_partition(lane, tally, letters, findings)
                found.append(judge.other(lane, letters, excused))
        progress("partitions", len(lanes), len(lanes))
        now = self._admin.topics([self._raw]).get(self._raw)
        if (now and now.topic_id) != (topic and topic.topic_id):
            raise TopicRecreated(f"{self._raw}: became another topic during the audit: run it again")
        return found

    def _no_such_partition(self, lane: Lane, tally: Tally, letters: Offsets, findings: Findings) -> None:
        told = f"partition {lane.partition}: the topic has none of that number"
        findings.add("foreign_rows", told, lane=lane, offsets=Ranges.of(tally.live.get(lane, ())))
        findings.add("foreign_letter", told, lane=lane, offsets=Ranges.of(letters))

    def _judge_replays(self, tally: Tally, findings: Findings) -> None:
        for (replay_id, lane), rows in sorted(tally.replays.items()):
            twice = Ranges.of(rows.twice)
            told = f"replay {replay_id}, partition {lane.partition}: offsets are in more than one row: {twice}"
            findings.add("duplicated", told, lane=lane, replay_id=replay_id, offsets=twice)

    def _notes(
        self,
        stale: Iterable[StaleRollUp],
        partitions: Iterable[PartitionAudit],
        gaps: Iterable[Gap],
        topic: TopicInfo | None,
    ) -> Iterator[Finding]:
        for name, listed, parts in stale:
            yield Finding("stale_roll_up", f"{name}: lists {listed} of {parts} parts", [name])
        by_lane = {Lane(each.topic_id, each.partition): each for each in partitions}
        for lane, each in by_lane.items():
            place = (lane.topic_id, lane.partition)
            if each.void_letters:
                told = f"partition {lane.partition}: {each.void_letters} letters are of records that have landed"
                yield Finding("void_letters", told, [], *place)
            if topic is not None and lane.topic_id != topic.topic_id:
                told = f"partition {lane.partition} of topic id {lane.topic_id}: the topic's id is {topic.topic_id} now"
                yield Finding("other_topic", told, [], *place)
        for gap in gaps:
            lane = Lane(gap.topic_id, gap.partition)
            if lane in by_lane and gap.end > gap.start:
                told = f"partition {gap.partition}: [{gap.start}, {gap.end}) was accepted as never landed"
                yield Finding("accepted_gap", told, [], *lane, None, Ranges.of([(gap.start, gap.end)]))


def _counted(seen: ZoneAudit, part: ZonePart) -> ZoneAudit:
    live = part.info.replay_id is None
    return replace(
        seen,
        parts=seen.parts + 1,
        live_parts=seen.live_parts + live,
        replay_parts=seen.replay_parts + (not live),
        live_records=seen.live_records + (part.info.records if live else 0),
        replay_records=seen.replay_records + (0 if live else part.info.records),
        bytes=seen.bytes + part.stored.size,
        bodies_read=seen.bodies_read + (part.info.rows is None),
    )


def _verdict(findings: list[Finding], partitions: Iterable[PartitionAudit], topic: TopicInfo | None) -> Verdict:
    if findings:
        return "findings"
    proved = topic is not None and all(each.current and not each.unproven for each in partitions)
    return "clean" if proved else "unproven"
