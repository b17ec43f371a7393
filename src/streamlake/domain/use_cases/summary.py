"""`streamlake summary`: what happened on one date, per dataset. Counts what it finds in log and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from streamlake.domain.errors import PositionLost, TopicMissing
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.day_summary import DatasetDay, DaySummary, ReplayOfDay
from streamlake.domain.model.letters import DeadLetter
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.status_report import CheckStatus
from streamlake.domain.model.times import DAY_MS, epoch_ms
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.audit_reports import AuditReports
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart
from streamlake.domain.use_cases.reports import DatedReports

Progress = Callable[[int, int], None]
"""Told of offsets read and offsets to read."""


class Summarize:
    """Sums up dates of any dataset. Reads only. Errors: the log's and the store's, and `PrefixDamaged`."""

    def __init__(
        self,
        admin: LogAdmin,
        reader: LogReader,
        zone: Callable[[str], RawZone],
        letters: Callable[[str], DeadLetters],
        audits: Callable[[str], AuditReports],
        checks: DatedReports,
    ) -> None:
        self._admin = admin
        self._reader = reader
        self._zone = zone
        self._letters = letters
        self._audits = audits
        self._checks = checks

    def of(self, dataset: str, date: str, progress: Progress = lambda done, total: None) -> DatasetDay:
        """A dataset on an ISO date. Reads the raw topic from that date on, since later records may be older."""
        start = epoch_ms(datetime.fromisoformat(date).replace(tzinfo=UTC))
        accepted, complete = self._accepted(dataset, start, progress)
        parts = list(self._zone(dataset).parts([date]))
        live = [part for part in parts if part.info.replay_id is None]
        check = self._checks.latest(dataset, date)
        return DatasetDay(
            dataset=dataset,
            accepted=accepted,
            accepted_complete=complete,
            landed=sum(part.info.records for part in live),
            parts=len(live),
            bytes=sum(part.stored.size for part in live),
            dead_letters=self._dead_letters(dataset, start),
            replays=list(_replays(parts)),
            lag_high_water_s=_lag_high_water(live),
            audit=self._audit(dataset, date),
            quality=None if check is None else CheckStatus(check.name, check.verdict, check.checked_at, date),
        )

    def _accepted(self, dataset: str, start: int, progress: Progress) -> tuple[int | None, bool]:
        topic = raw_topic(dataset)
        info = self._admin.topics([topic]).get(topic)
        if info is None:
            return None, False
        sources = [TopicPartition(topic, number) for number in range(info.partitions)]
        marks = self._admin.watermarks(sources)
        begins = self._admin.offsets_for_times(dict.fromkeys(sources, start))
        ranges = {source: (begin, marks[source].high) for source in sources if (begin := begins[source]) is not None}
        total = sum(end - begin for begin, end in ranges.values())
        counted = done = 0
        # Below the first record of that time or later all are older. If it is the first there is, some may be gone.
        complete = all(marks[source].low == 0 or begin > marks[source].low for source, (begin, _) in ranges.items())
        for source, (begin, end) in ranges.items():
            try:
                for batch in self._reader.read(source, begin, end):
                    counted += sum(1 for at in batch.timestamps if start <= at < start + DAY_MS)
                    progress(done + batch.next_offset - begin, total)
            except PositionLost:  # retention overtook us
                complete = False
            done += end - begin
            progress(done, total)
        return counted, complete

    def _dead_letters(self, dataset: str, start: int) -> dict[str, int]:
        """By stage and class; a letter that was sent again after a crash counts once."""
        counts: Counter[str] = Counter()
        seen: dict[Lane, Offsets] = {}
        try:
            for entry in self._letters(dataset).entries():
                if not isinstance(entry, DeadLetter) or entry.id.replay_id is not None:
                    continue
                if not start <= entry.timestamp < start + DAY_MS:
                    continue
                offsets = seen.setdefault(entry.id.lane, Offsets())
                if entry.id.offset not in offsets:
                    offsets.add(entry.id.offset, entry.id.offset + 1)
                    counts[f"{entry.stage} {entry.error_class}"] += 1
        except TopicMissing:
            return {}
        return dict(sorted(counts.items()))

    def _audit(self, dataset: str, date: str) -> CheckStatus | None:
        """The last one that decides about this date, if it was made on that date or any later one."""
        last = self._audits(dataset).last(lambda report: report.decides(date))
        if last is None or last[1].at[:10] < date:
            return None
        name, report = last
        return CheckStatus(name, report.verdict, report.at, report.scope.date)


def _replays(parts: list[ZonePart]) -> Iterator[ReplayOfDay]:
    found: dict[str, list[ZonePart]] = {}
    for part in parts:
        if part.info.replay_id is not None:
            found.setdefault(part.info.replay_id, []).append(part)
    for replay_id, theirs in sorted(found.items()):
        yield ReplayOfDay(replay_id, len(theirs), sum(part.info.records for part in theirs))


def _lag_high_water(live: list[ZonePart]) -> float | None:
    waits = [part.stored.created_ms - part.info.last_timestamp for part in live if part.stored.created_ms is not None]
    return max(0, max(waits)) / 1000 if waits else None


class Summaries:
    """Summaries as objects: `ops/summary/date=YYYY-MM-DD/<time it was made>.json`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep(self, summary: DaySummary) -> str:
        """Store a summary for good; returns the object's name. Raises the store's errors."""
        stamp = summary.at.replace(":", "").replace("-", "")
        name = f"ops/summary/date={summary.ingestion_date}/{stamp}.json"
        self._store.create(name, summary.to_json(), content_type="application/json", metadata={})
        return name
