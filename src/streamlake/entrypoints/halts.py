"""Partitions that do not go on: why, and what of it must survive a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlake.domain.errors import PositionLost, PrefixDamaged, StreamLakeError
from streamlake.domain.model.positions import TopicPartition, Watermarks
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.control import HALTED, Control, Decision
from streamlake.entrypoints.landing_telemetry import LandingTelemetry

RETRY_S = 1.0
TRUNCATION_S = 60.0
"""A claim may be ahead of a follower's high watermark; not for so long."""


class Halts:
    """The halted partitions of one dataset in one process. Belongs to its poll thread."""

    def __init__(self, dataset: str, control: Control, clock: Clock, telemetry: LandingTelemetry) -> None:
        self.reasons: dict[TopicPartition, str] = {}
        self._dataset = dataset
        self._control = control
        self._clock = clock
        self._telemetry = telemetry
        self._unrecorded: dict[TopicPartition, tuple[str, str]] = {}
        self._damaged: set[TopicPartition] = set()
        self._next_record = 0.0

    def note(self, sources: Iterable[TopicPartition], fault: StreamLakeError) -> None:
        """These are halted, in this process."""
        halted = list(sources)
        if isinstance(fault, PrefixDamaged):
            self._damaged.update(halted)
        self.reasons.update(dict.fromkeys(halted, f"{type(fault).__name__}: {fault}"))
        self._telemetry.halted(halted, fault)

    def to_record(self, source: TopicPartition, topic_id: str, fault: StreamLakeError) -> None:
        """This halt must survive a restart. Until it is recorded, this process keeps it itself."""
        self._unrecorded[source] = topic_id, str(fault)

    def started(self, source: TopicPartition) -> None:
        """It is read again. One that waits for a damaged prefix is not well for that: it is tried, until it lands."""
        if source not in self._damaged:
            self.clear(source)

    def landed(self, source: TopicPartition) -> None:
        """All that was read of it has landed."""
        if source in self._damaged:
            self.clear(source)

    def clear(self, source: TopicPartition) -> None:
        """It goes on, or is no longer ours."""
        self.reasons.pop(source, None)
        self._unrecorded.pop(source, None)
        self._damaged.discard(source)

    def is_unrecorded(self, source: TopicPartition) -> bool:
        """Does only this process know of its halt?"""
        return source in self._unrecorded

    def record(self, now: float) -> None:
        """Write what is not recorded yet to `streamlake.control`; what fails is tried again."""
        if now < self._next_record:
            return
        for source, (topic_id, reason) in list(self._unrecorded.items()):
            moment = self._clock.now()
            decision = Decision(HALTED, topic_id, reason, "consumer", rfc3339(moment))
            try:
                self._control.decide(self._dataset, source.partition, decision, epoch_ms(moment))
            except StreamLakeError as trouble:
                self._telemetry.log_trouble(trouble)
                self._next_record = now + RETRY_S
                return
            del self._unrecorded[source]


class TruncationWatch:
    """Notices a log that was cut short (an unclean election, a restored broker): it would give the same offsets again,
    to other records. Fed by the watcher's thread, heeded by the poll thread."""

    def __init__(self) -> None:
        self._beyond: dict[TopicPartition, float] = {}
        self._found: dict[TopicPartition, PositionLost] = {}

    def compare(
        self, landed: Mapping[TopicPartition, int], marks: Mapping[TopicPartition, Watermarks], now: float
    ) -> None:
        """Compare where what had landed ends with where the log ended after that, every few seconds. `now` is monotonic
        seconds."""
        for source, mark in marks.items():
            end = landed.get(source, 0)
            if end <= mark.high:
                self._beyond.pop(source, None)
            elif now - self._beyond.setdefault(source, now) >= TRUNCATION_S:
                self._found[source] = PositionLost(
                    f"{source}: landed up to {end}, but the log ends at {mark.high}: it was cut short; recreate it"
                )

    def take(self) -> dict[TopicPartition, PositionLost]:
        """What was found since the last time."""
        found, self._found = self._found, {}
        return found
