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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from streamlake.domain.errors import ObjectDamaged, ObjectMissing, PartitionMissing, TopicMissing, TopicRecreated
from streamlake.domain.model.audit_report import (
    REPORT_VERSION,
    AuditReport,
    Finding,
    PartitionAudit,
    Ranges,
    ReplayAudit,
    Scope,
    Verdict,
    ZoneAudit,
)
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic
from streamlake.domain.model.offset_runs import OffsetRuns
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.model.snapshots import committed_topic_id
from streamlake.domain.ports.event_log import LogAdmin, LogReader, TopicInfo
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.audit_deep import DeepCheck, found_damaged
from streamlake.domain.use_cases.audit_findings import Findings
from streamlake.domain.use_cases.audit_offsets import JudgeOffsets, Tally
from streamlake.domain.use_cases.audit_parts import StaleRollUp, ZoneWalk
from streamlake.domain.use_cases.audit_replay import JudgeReplay
from streamlake.domain.use_cases.dead_letters import DeadLetters, Ledger
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart
from streamlake.domain.use_cases.replay_records import ReplayRecords
from streamlake.domain.use_cases.start_positions import Gap, accepted_gaps

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


def _untold(doing: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class AuditParts:
    """What an audit reads from. Nothing is created, no group is moved."""

    dataset: str
    store: ObjectStore
    formats: Mapping[str, PartFormat]
    admin: LogAdmin
    reader: LogReader


class Audit:
    """Audits one dataset."""

    def __init__(
        self,
        dataset: str,
        store: ObjectStore,
        formats: Mapping[str, PartFormat],
        admin: LogAdmin,
        reader: LogReader,
    ) -> None:
        self._parts = AuditParts(dataset, store, formats, admin, reader)

    def run(self, scope: Scope, at: str, progress: Progress = _untold) -> AuditReport:
        """Look once. `at` is the time now (RFC 3339). Raises the errors of log and store, `PartitionMissing` where
        nothing is of the partition asked for, and `TopicRecreated` where that happened meanwhile."""
        return _Look(self._parts, scope, progress).report(at)


class _Look:
    """One run of an audit: its steps in their order."""

    def __init__(self, parts: AuditParts, scope: Scope, progress: Progress) -> None:
        self._scope = scope
        self._progress = progress
        self._dataset = parts.dataset
        self._store = parts.store
        self._formats = parts.formats
        self._admin = parts.admin
        self._reader = parts.reader
        self._raw = raw_topic(parts.dataset)
        self._zone = RawZone(parts.dataset, parts.store, parts.formats)
        self._letters = DeadLetters(parts.dataset, parts.admin, parts.reader)
        self._findings = Findings()
        self._notes: list[Finding] = []
        self._topic: TopicInfo | None = None
        self._sources: dict[Lane, TopicPartition] = {}
        """The raw topic's partitions, whatever the scope."""

    def report(self, at: str) -> AuditReport:
        """All steps."""
        named = self._scope.replay_id
        plan = ReplayRecords(self._store).plan_of(self._dataset, named) if named else None
        committed = self._look_at_log()
        gaps = list(self._accepted_gaps())
        tally = Tally(self._scope.date, committed)
        deep = self._deep_check()
        walk = ZoneWalk(self._dataset, self._store, self._formats, self._findings)
        replay = None if plan is None else self._replay(plan)
        zone = self._walk(walk, tally, deep, replay)
        ledger = self._read_letters(deep)
        partitions = self._judge(tally, ledger, gaps) if plan is None else []
        replays = [] if plan is None or replay is None else self._judge_replay(plan, replay, tally, ledger)
        self._insist_on_a_partition(partitions or replays)
        self._look_for_rows_twice(tally)
        self._note(walk.stale, partitions, gaps if plan is None else [])
        self._check_topic()
        return AuditReport(
            version=REPORT_VERSION,
            dataset=self._dataset,
            topic=self._raw,
            topic_id=self._topic.topic_id if self._topic else None,
            scope=self._scope,
            at=at,
            verdict=self._verdict(partitions, replays),
            findings=self._findings.kept,
            notes=[*self._notes, *self._findings.cut],
            partitions=partitions,
            replays=replays,
            zone=zone,
        )

    def _look_at_log(self) -> dict[Lane, int]:
        """The committed positions of the topic as it is now."""
        self._topic = topic = self._admin.topics([self._raw]).get(self._raw)
        if topic is None:
            self._notes.append(Finding("topic_missing", f"{self._raw}: does not exist: nothing can be looked up"))
            return {}
        sources = [TopicPartition(self._raw, number) for number in range(topic.partitions)]
        self._sources = {Lane(topic.topic_id, source.partition): source for source in sources}
        committed: dict[Lane, int] = {}
        for source, position in self._admin.group_offsets(consumer_group(self._dataset), sources).items():
            named = committed_topic_id(position.metadata)
            if named in (None, topic.topic_id):
                committed[Lane(topic.topic_id, source.partition)] = position.offset
            else:
                told = f"{source}: {position.offset} is committed for topic id {named}, it is {topic.topic_id} now"
                self._notes.append(Finding("other_commit", told, [], topic.topic_id, source.partition))
        return committed

    def _accepted_gaps(self) -> Iterator[Gap]:
        for name, gap in accepted_gaps(self._store, self._dataset):
            if gap is None:
                self._findings.add("gap_unreadable", f"{name}: is not an accepted gap, and accepts nothing", name)
            else:
                yield gap

    def _in_scope(self, lane: Lane) -> bool:
        return self._scope.partition in (None, lane.partition)

    def _deep_check(self) -> DeepCheck | None:
        if not self._scope.deep:
            return None
        sources = {lane: source for lane, source in self._sources.items() if self._in_scope(lane)}
        return DeepCheck(self._zone, self._formats, self._reader, sources, self._findings)

    def _replay(self, plan: ReplayPlan) -> JudgeReplay:
        excused: dict[int, Offsets] = {}
        for run in ReplayRecords(self._store).runs(plan.replay_id):
            for partition, (start, end) in run.lost.items():
                excused.setdefault(int(partition), Offsets()).add(start, end)
        return JudgeReplay(plan, excused, self._admin, self._reader, self._findings)

    def _judge_replay(self, plan: ReplayPlan, judge: JudgeReplay, tally: Tally, ledger: Ledger) -> list[ReplayAudit]:
        letters = ledger.replays.get(plan.replay_id, {})
        found = []
        planned = set()
        for each in plan.partitions:
            lane = plan.lane(each.partition)
            planned.add(lane)
            if self._in_scope(lane):
                rows = tally.replays.get((plan.replay_id, lane), OffsetRuns())
                found.append(judge.judge(each, rows, letters.get(lane, Offsets()), self._sources.get(lane)))
        there = {lane for replay_id, lane in tally.replays if replay_id == plan.replay_id}
        for lane in sorted({*there, *letters} - planned):
            told = f"replay {plan.replay_id}: has rows or letters of partition {lane.partition} of {lane.topic_id}"
            self._findings.add("replay_foreign", told, lane=lane, replay_id=plan.replay_id)
        return found

    def _walk(self, walk: ZoneWalk, tally: Tally, deep: DeepCheck | None, replay: JudgeReplay | None) -> ZoneAudit:
        seen = ZoneAudit()
        dates = self._zone.dates()
        for part in walk.parts(self._scope.date):
            judged = self._scope.date in (None, part.date) and self._scope.replay_id in (None, part.info.replay_id)
            rows = deep.check(part, self._raw) if deep and judged else self._rows(part)
            tally.add(part.date, part.info.replay_id, rows)
            if part.info.replay_id is None:
                tally.claim(part.date, part.info.claims)
            if judged and replay is not None:
                replay.check_part(part)
            if judged:
                seen = _counted(seen, part, body_read=deep is not None)
            self._progress("dates", min(walk.prefixes, len(dates)), len(dates))
        return replace(seen, prefixes=walk.prefixes, rows_compared=deep.compared if deep else 0)

    def _rows(self, part: ZonePart) -> Mapping[Lane, Offsets]:
        try:
            return self._zone.rows(part)
        except (ValueError, KeyError, TypeError, ObjectDamaged, ObjectMissing) as damaged:
            found_damaged(self._findings, part, damaged)
            return {}

    def _read_letters(self, deep: DeepCheck | None) -> Ledger:
        try:
            ledger = self._letters.ledger(lambda done, total: self._progress("dead letters", done, total))
            if deep is not None:
                deep.check_letters(self._letters, lambda done, total: self._progress("letters read", done, total))
        except TopicMissing:
            return Ledger()
        if ledger.strays:
            told = f"{dlq_topic(self._dataset)}: {ledger.strays} records are neither letters nor resolutions"
            self._findings.add("letter_unreadable", told)
        for lane, offsets in sorted(ledger.redriven_twice.items()):
            at = Ranges.of(offsets)
            told = f"letters {lane.topic_id}/{lane.partition}/{at} were redriven to two places each: both land"
            self._notes.append(Finding("redriven_twice", told, [], *lane, None, at))
        return ledger

    def _judge(self, tally: Tally, ledger: Ledger, gaps: Iterable[Gap]) -> list[PartitionAudit]:
        accepted: dict[Lane, Offsets] = {}
        for gap in gaps:
            accepted.setdefault(Lane(gap.topic_id, gap.partition), Offsets()).add(gap.start, gap.end)
        marks = self._admin.watermarks(list(self._sources.values())) if self._sources else {}
        judge = JudgeOffsets(self._admin, self._reader, tally, self._findings)
        lanes = sorted(filter(self._in_scope, {*self._sources, *tally.live, *ledger.consumer, *accepted}))
        found = []
        for done, lane in enumerate(lanes):
            self._progress("partitions", done, len(lanes))
            letters, excused = ledger.consumer.get(lane, Offsets()), accepted.get(lane, Offsets())
            source = self._sources.get(lane)
            if source is not None:
                found.append(judge.current(source, lane, marks[source], letters, excused))
            else:
                found.append(judge.other(lane, letters, excused))
                self._check_that_it_was_one(lane, tally, letters)
        self._progress("partitions", len(lanes), len(lanes))
        return found

    def _insist_on_a_partition(self, judged: Sequence[object]) -> None:
        """A verdict over nothing would always be a good one."""
        if self._scope.partition is not None and self._topic is not None and not judged:
            self._topic.insist_on([self._scope.partition])
            raise PartitionMissing(f"replay {self._scope.replay_id}: has nothing of partition {self._scope.partition}")

    def _check_topic(self) -> None:
        """Ids never come back: if it is the same now, then all that was asked was asked of it."""
        now = self._admin.topics([self._raw]).get(self._raw)
        if (now and now.topic_id) != (self._topic and self._topic.topic_id):
            raise TopicRecreated(f"{self._raw}: became another topic during the audit: run it again")

    def _check_that_it_was_one(self, lane: Lane, tally: Tally, letters: Offsets) -> None:
        """Of another topic id anything may have been; of this one the partitions are known."""
        if self._topic is not None and lane.topic_id == self._topic.topic_id:
            told = f"partition {lane.partition}: the topic has {self._topic.partitions}"
            rows = Ranges.of(tally.live.get(lane, ()))
            self._findings.add("foreign_rows", told, lane=lane, offsets=rows)
            self._findings.add("foreign_letter", told, lane=lane, offsets=Ranges.of(letters))

    def _look_for_rows_twice(self, tally: Tally) -> None:
        """In any replay: each is landed once under its id."""
        for (replay_id, lane), rows in sorted(tally.replays.items()):
            if self._scope.replay_id not in (None, replay_id):
                continue
            twice = Ranges.of(rows.twice)
            told = f"replay {replay_id}, partition {lane.partition}: offsets are in more than one row: {twice}"
            self._findings.add("duplicated", told, lane=lane, replay_id=replay_id, offsets=twice)

    def _note(self, stale: Iterable[StaleRollUp], partitions: Iterable[PartitionAudit], gaps: Iterable[Gap]) -> None:
        """What is worth knowing, and nothing wrong."""
        say = self._notes.append
        for name, listed, parts in stale:
            say(Finding("stale_roll_up", f"{name}: lists {listed} of {parts} parts", [name]))
        for each in partitions:
            place = (each.topic_id, each.partition)
            if each.void_letters:
                told = f"partition {each.partition}: {each.void_letters} letters are of records that have landed"
                say(Finding("void_letters", told, [], *place))
            if each.current and each.committed is None and each.log_end != each.log_start:
                told = f"partition {each.partition}: nothing is committed, the log holds offsets up to {each.log_end}"
                say(Finding("nothing_committed", told, [], *place))
            if not each.current:
                now = self._topic.topic_id if self._topic else "none"
                told = f"partition {each.partition} of topic id {each.topic_id}: the topic's id is {now} now"
                say(Finding("other_topic", told, [], *place))
        for gap in gaps:
            if self._in_scope(lane := Lane(gap.topic_id, gap.partition)) and gap.end > gap.start:
                told = f"partition {gap.partition}: [{gap.start}, {gap.end}) was accepted as never landed"
                say(Finding("accepted_gap", told, [], *lane, None, Ranges.of([(gap.start, gap.end)])))

    def _verdict(self, partitions: Sequence[PartitionAudit], replays: Iterable[ReplayAudit]) -> Verdict:
        if self._findings.kept:
            return "findings"
        proved = self._topic is not None and all(each.current and not each.unproven for each in partitions)
        proved = proved and not any(each.unproven for each in replays)
        if any(note.kind == "nothing_committed" for note in self._notes):
            proved = proved and any(each.judged_from < each.judged_to for each in partitions)
        return "clean" if proved else "unproven"


def _counted(seen: ZoneAudit, part: ZonePart, *, body_read: bool) -> ZoneAudit:
    live = part.info.replay_id is None
    return replace(
        seen,
        parts=seen.parts + 1,
        live_parts=seen.live_parts + live,
        replay_parts=seen.replay_parts + (not live),
        live_records=seen.live_records + (part.info.records if live else 0),
        replay_records=seen.replay_records + (0 if live else part.info.records),
        bytes=seen.bytes + part.stored.size,
        bodies_read=seen.bodies_read + (body_read or part.info.rows is None),
    )
