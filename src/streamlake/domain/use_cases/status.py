"""`streamlake status`: how each dataset is, and what needs somebody. Looks only, at log and store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from streamlake.domain.errors import ObjectMissing, PositionLost
from streamlake.domain.model.audit_report import AuditReport
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.status_report import CheckStatus, DatasetStatus, PartitionStatus, ReplayStatus
from streamlake.domain.ports.event_log import LogAdmin, TopicInfo
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.audit_reports import AuditReports
from streamlake.domain.use_cases.control import HALTED, Control
from streamlake.domain.use_cases.replay_records import COMPLETE, RUNNING, ReplayRecords, ReplaySummary
from streamlake.domain.use_cases.reports import DatedReports
from streamlake.domain.use_cases.rewind import RELEASED
from streamlake.domain.use_cases.start_positions import Gap, StartPositions

REWIND = "ops/rewind/"


class Status:
    """Looks at any dataset. Errors: the log's and the store's."""

    def __init__(
        self,
        admin: LogAdmin,
        store: ObjectStore,
        control: Control,
        starts: Callable[[str], StartPositions],
        audits: Callable[[str], AuditReports],
        checks: DatedReports,
        replays: ReplayRecords,
    ) -> None:
        self._admin = admin
        self._store = store
        self._control = control
        self._starts = starts
        self._audits = audits
        self._checks = checks
        self._replays = replays

    def of(self, dataset: str, now: datetime) -> DatasetStatus:
        """How a dataset is now."""
        replays = list(self._open_replays(dataset))
        raw, dlq = raw_topic(dataset), dlq_topic(dataset)
        topics = self._admin.topics([raw, dlq])
        topic = topics.get(raw)
        partitions = [] if topic is None else list(self._partitions(dataset, topic))
        found = DatasetStatus(
            dataset=dataset,
            raw_topic=topic is not None,
            dlq_topic=dlq in topics,
            topic_id=None if topic is None else topic.topic_id,
            members=len(self._admin.group(consumer_group(dataset)).members),
            lag=sum(each.lag for each in partitions),
            partitions=partitions,
            audit=self._last_audit(dataset),
            quality=self._last_check(dataset),
            replays=[_told(each) for each in replays],
            rewind=self._rewind(dataset),
        )
        found.attention.extend(_attention(found))
        for each in replays:
            if trouble := each.trouble(now):
                found.attention.append(f"replay {each.plan.replay_id}: {each.state}: {trouble}")
        return found

    def _partitions(self, dataset: str, topic: TopicInfo) -> Iterator[PartitionStatus]:
        sources = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        committed = self._admin.group_offsets(consumer_group(dataset), sources)
        marks = self._admin.watermarks(sources)
        decisions = self._control.decisions(dataset)
        starts = self._starts(dataset).begin()
        for source in sources:
            decision = decisions.get(source.partition)
            halted = decision is not None and decision.state == HALTED and decision.topic_id == topic.topic_id
            mark, at = marks[source], committed.get(source)
            yield PartitionStatus(
                partition=source.partition,
                low=mark.low,
                high=mark.high,
                committed=None if at is None else at.offset,
                lag=max(0, mark.high - max(mark.low, 0 if at is None else at.offset)),
                halted=decision.reason if halted and decision is not None else None,
                stopped=_stopped(starts, source, topic.topic_id, mark, at),
            )

    def _last_audit(self, dataset: str) -> CheckStatus | None:
        last = self._audits(dataset).last(AuditReport.decides)
        if last is None:
            return None
        name, report = last
        return CheckStatus(name, report.verdict, report.at, report.scope.date)

    def _last_check(self, dataset: str) -> CheckStatus | None:
        last = self._checks.latest(dataset)
        return None if last is None else CheckStatus(last.name, last.verdict, last.checked_at, last.date)

    def _open_replays(self, dataset: str) -> Iterator[ReplaySummary]:
        for plan in self._replays.plans():
            if plan.dataset == dataset:
                summary = self._replays.summary(plan.replay_id)
                if summary.state != COMPLETE:
                    yield summary

    def _rewind(self, dataset: str) -> str | None:
        try:
            told: Any = json.loads(self._store.read(f"{REWIND}{dataset}.json")[1])
        except ObjectMissing:
            return None
        except ValueError:
            return "unreadable"
        held = told.get("replay_id") if isinstance(told, Mapping) else "unreadable"
        released = isinstance(told, Mapping) and told.get("state") == RELEASED
        return None if held is None or released else str(held)


def _told(replay: ReplaySummary) -> ReplayStatus:
    run = replay.runs[-1] if replay.runs else None
    updated, reason = (run.updated_at, run.reason) if run else (None, "")
    return ReplayStatus(replay.plan.replay_id, replay.plan.request.mode, replay.state, updated, reason)


def _stopped(
    starts: StartPositions, source: TopicPartition, topic_id: str, mark: Watermarks, committed: Position | None
) -> str | None:
    try:
        decided = starts.decide(source, topic_id, mark, committed)
    except PositionLost as lost:
        return str(lost)
    return str(decided) if isinstance(decided, Gap) else None


def _attention(found: DatasetStatus) -> Iterator[str]:
    for there, name in ((found.raw_topic, raw_topic(found.dataset)), (found.dlq_topic, dlq_topic(found.dataset))):
        if not there:
            yield f"{name}: does not exist; `streamlake topics provision` makes it"
    for each in found.partitions:
        if each.halted is not None:
            yield f"partition {each.partition}: halted: {each.halted}"
        if each.stopped is not None:
            yield f"partition {each.partition}: {each.stopped}"
    if found.lag and not found.members:
        yield f"{found.lag} offsets wait, and no consumer runs"
    if found.audit is not None and found.audit.verdict == "findings":
        yield f"the audit has findings: {found.audit.report}; one of the whole dataset says when they are mended"
    if found.quality is not None and found.quality.verdict == "failed":
        yield f"the last quality check failed: {found.quality.report}"
    if found.rewind is not None and not any(r.replay_id == found.rewind and r.state == RUNNING for r in found.replays):
        yield f"replay {found.rewind} holds the rewind of this dataset, and does not run"
