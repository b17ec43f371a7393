"""What a consumer tells of itself: one log line per part, commit, dead letter and error, and Prometheus metrics.

Keys and payloads are never told; places (topic, partition, offset), ids, names and reasons are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from prometheus_client import Counter, Gauge

from streamlake.domain.errors import OperatorFault, StreamLakeError
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.model.envelope import INGESTION_ID
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.snapshots import ReplayBlock, Snapshot
from streamlake.domain.use_cases.start_positions import Start
from streamlake.entrypoints.telemetry import Metrics

REREAD = "offsets re-read; what is landed is not landed again; for new parts use `streamlake replay`"


class LandingMetrics(Metrics):
    """The consumer's metrics."""

    def __init__(self) -> None:
        super().__init__()
        own = self.registry
        lane = ["dataset", "partition"]
        self.records = Counter(
            "streamlake_consumed_records", "Records read from the raw topic", ["dataset"], registry=own
        )
        self.landed = Counter("streamlake_landed_records", "Records landed in the raw zone", ["dataset"], registry=own)
        self.landed_bytes = Counter("streamlake_landed_bytes", "Bytes of parts created", ["dataset"], registry=own)
        self.parts = Counter(
            "streamlake_parts", "Parts created, by why they were rolled", ["dataset", "reason"], registry=own
        )
        self.conflicts = Counter(
            "streamlake_part_conflicts", "Slots found taken by another writer", ["dataset"], registry=own
        )
        self.letters = Counter(
            "streamlake_consumer_dead_letters", "Dead letters, by class", ["dataset", "error_class"], registry=own
        )
        self.retries = Counter(
            "streamlake_landing_retries", "Landing attempts that failed, by fault", ["dataset", "fault"], registry=own
        )
        self.buffer = Gauge("streamlake_buffer_bytes", "Records waiting to be landed", ["dataset"], registry=own)
        self.oldest = Gauge(
            "streamlake_oldest_unlanded_seconds", "Age of the oldest record not sealed", ["dataset"], registry=own
        )
        self.lag = Gauge(
            "streamlake_lag_records", "Records between the committed position and the log's end", lane, registry=own
        )
        self.lag_seconds = Gauge(
            "streamlake_lag_seconds", "Age of the last record committed; 0 at the log's end", lane, registry=own
        )
        self.stopped = Gauge(
            "streamlake_stopped", "1 while a rewind keeps the consumers out of the group", ["dataset"], registry=own
        )
        self.halted = Gauge("streamlake_halted", "1 where a partition does not go on", lane, registry=own)


class LandingTelemetry:
    """One dataset's voice. Called from its poll and its landing thread."""

    def __init__(self, dataset: str, metrics: LandingMetrics) -> None:
        self._dataset = dataset
        self._metrics = metrics
        self._log = structlog.get_logger("streamlake.consumer").bind(dataset=dataset, topic=raw_topic(dataset))
        self._stamps: dict[TopicPartition, int] = {}

    # The landing thread's

    def landed(self, snapshot: Snapshot, parts_before: int, letters_before: int, conflicts_before: int) -> None:
        """What one attempt has landed and lettered."""
        self._metrics.conflicts.labels(self._dataset).inc(snapshot.conflicts - conflicts_before)
        metrics, dataset = self._metrics, self._dataset
        for part in snapshot.parts[parts_before:]:
            metrics.landed.labels(dataset).inc(part.info.records)
            metrics.landed_bytes.labels(dataset).inc(part.size)
            metrics.parts.labels(dataset, snapshot.reason).inc()
            self._log.info(
                "part_landed",
                write_path=part.name,
                records=part.info.records,
                bytes=part.size,
                generation=part.generation,
                reason=snapshot.reason,
                offsets={str(lane.partition): list(offsets) for lane, offsets in part.info.claims.items()},
            )
        for letter, place in snapshot.lettered[letters_before:]:
            kind = error_class(letter.fault)
            metrics.letters.labels(dataset, kind).inc()
            ingestion_id = dict(letter.headers).get(INGESTION_ID)
            self._log.warning(
                "dead_letter",
                error_class=kind,
                error=str(letter.fault),
                partition=letter.source.partition,
                offset=letter.source.offset,
                ingestion_id=ingestion_id.decode(errors="replace") if ingestion_id else None,
                letter=f"{place.topic}[{place.partition}]@{place.offset}",
            )

    def landing_trouble(self, fault: StreamLakeError, wait_s: float) -> None:
        """An attempt failed."""
        kind = type(fault).__name__
        self._metrics.retries.labels(self._dataset, kind).inc()
        say = self._log.error if isinstance(fault, OperatorFault) else self._log.warning
        say("landing failed", fault=kind, error=str(fault), again_in_s=round(wait_s, 1))

    def roll_up_trouble(self, name: str, fault: StreamLakeError) -> None:
        """A roll-up could not be written; landing is not touched by that."""
        self._log.warning("roll-up not written", write_path=name, fault=type(fault).__name__, error=str(fault))

    # The poll thread's

    def received(self, batch: RecordBatch) -> None:
        """A batch came."""
        self._metrics.records.labels(self._dataset).inc(len(batch))
        self._stamps[batch.source] = batch.timestamps[-1]

    def buffered(self, used: int, opened_at: float | None, now: float) -> None:
        """What is buffered, and since when."""
        self._metrics.buffer.labels(self._dataset).set(used)
        self._metrics.oldest.labels(self._dataset).set(0 if opened_at is None else now - opened_at)

    def committed(self, new: Mapping[TopicPartition, Position], before: Mapping[TopicPartition, Position]) -> None:
        """Positions were committed; those that moved are told."""
        moved = {str(s.partition): at.offset for s, at in sorted(new.items()) if before.get(s) != at}
        if moved:
            self._log.info("committed", offsets=moved)

    def commit_trouble(self, fault: StreamLakeError) -> None:
        """A commit was refused or unanswered."""
        self._log.warning("commit failed", fault=type(fault).__name__, error=str(fault))

    def log_trouble(self, fault: StreamLakeError) -> None:
        """The event log did not answer."""
        self._log.warning("event log unavailable", fault=type(fault).__name__, error=str(fault))

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions came."""
        self._log.info("assigned", partitions=sorted(source.partition for source in partitions))

    def revoked(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Partitions went."""
        self._log.info("lost" if lost else "revoked", partitions=sorted(source.partition for source in partitions))
        for source in partitions:
            for gauge in (self._metrics.lag, self._metrics.lag_seconds, self._metrics.halted):
                gauge.labels(self._dataset, str(source.partition)).set(0)

    def started(self, source: TopicPartition, start: Start) -> None:
        """A partition is read from here on."""
        self._metrics.halted.labels(self._dataset, str(source.partition)).set(0)
        self._log.info("reading", partition=source.partition, offset=start.offset)
        if start.reread_until > start.offset:
            count = start.reread_until - start.offset
            self._log.warning(f"{count} {REREAD}", partition=source.partition, offset=start.offset)

    def halted(self, sources: Sequence[TopicPartition], fault: StreamLakeError) -> None:
        """Partitions do not go on."""
        for source in sources:
            self._metrics.halted.labels(self._dataset, str(source.partition)).set(1)
        partitions = sorted(source.partition for source in sources)
        self._log.error("halted", partitions=partitions, fault=type(fault).__name__, error=str(fault))

    def standing_by(self, replay_id: str) -> None:
        """A rewind has the group: nothing of this dataset is landed until it is given back."""
        self._metrics.stopped.labels(self._dataset).set(1)
        self._log.warning("stopped", replay_id=replay_id)

    def going_on(self, replay_id: str) -> None:
        """The group is given back, or the order has run out."""
        self._metrics.stopped.labels(self._dataset).set(0)
        self._log.info("going on", replay_id=replay_id)

    def rewound(self, source: TopicPartition, block: ReplayBlock, offset: int) -> None:
        """A partition lands for a replay from here on."""
        self._metrics.halted.labels(self._dataset, str(source.partition)).set(0)
        told = {"replay_id": block.replay_id, "until": block.until, "resume": block.resume}
        self._log.info("rewound", partition=source.partition, offset=offset, **told)

    def resumed(self, source: TopicPartition, offset: int) -> None:
        """A rewound partition is live again."""
        self._log.info("rewind ended", partition=source.partition, offset=offset)

    def rewind_aborted(self, source: TopicPartition, why: str) -> None:
        """Its replay would have become dead letters for the most part."""
        self._log.error("rewind aborted", partition=source.partition, error=why)

    # The watcher's

    def lag(
        self, positions: Mapping[TopicPartition, Position], marks: Mapping[TopicPartition, Watermarks], now_ms: int
    ) -> None:
        """How far behind the log's end the committed positions are."""
        for source, mark in marks.items():
            position = positions.get(source)
            behind = max(0, mark.high - (position.offset if position else mark.low))
            stamp = self._stamps.get(source, now_ms)
            self._metrics.lag.labels(self._dataset, str(source.partition)).set(behind)
            age = max(0, now_ms - stamp) / 1000 if behind else 0
            self._metrics.lag_seconds.labels(self._dataset, str(source.partition)).set(age)
