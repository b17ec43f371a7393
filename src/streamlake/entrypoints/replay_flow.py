"""The flow of a bounded replay, from its readers to its landing thread: at its pace, with its progress."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streamlake.domain.errors import LogUnavailable, StreamLakeError, WorldFault
from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.use_cases.land_records import LandSnapshots
from streamlake.domain.use_cases.replay import BoundedReplay
from streamlake.domain.use_cases.replay_records import Counts
from streamlake.entrypoints.landing_thread import backoff_s
from streamlake.entrypoints.replay_lander import PATIENCE_S, POLL_S, ReplayLander, Trouble

QUEUED_BATCHES = 4
TELL_S = 0.5
RECORD_S = 10.0
LAG_S = 5.0
IN_HAND_S = 12.0
"""How long a stop waits for what is in hand; a consumer's does the same."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a replay may go. `records_per_s` None: as fast as it can. `max_live_lag` stops it from reading on while
    live landing is more records behind than this. `readers` partitions are read at a time."""

    records_per_s: float | None = None
    max_live_lag: int | None = None
    readers: int = 4


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far an attempt is: offsets read of those to read, records selected and landed, how far live landing is behind
    (None: not known), and what it is waiting for."""

    offsets: int
    of_offsets: int
    selected: int
    landed: int
    live_lag: int | None
    trouble: str | None


Tell = Callable[[ReplayProgress], None]


@dataclass(frozen=True, slots=True)
class FlowParts:
    """What a flow is made of (`container` builds it)."""

    reader: LogReader
    admin: LogAdmin
    landing: LandSnapshots
    clock: Clock
    memory_bytes: int
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class _Ended:
    """A reader has read its range, or cannot."""

    fault: StreamLakeError | None = None


@dataclass(slots=True)
class _Positions:
    """How far each range is read."""

    at: dict[tuple[TopicPartition, int], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.at.values())


class ReplayFlow:
    """From the readers to the parts, once."""

    def __init__(
        self,
        dataset: str,
        parts: FlowParts,
        pace: Pace,
        replay: BoundedReplay,
        tell: Tell,
        note: Callable[[Counts], None],
    ) -> None:
        self._dataset = dataset
        self._parts = parts
        self._pace = pace
        self._replay = replay
        self._tell = tell
        self._note = note
        self._batches: queue.Queue[RecordBatch | _Ended] = queue.Queue(QUEUED_BATCHES)
        self._over = threading.Event()
        self._trouble = Trouble()
        self._lander = ReplayLander(parts.landing, parts.clock, self._trouble)
        self._read = _Positions()
        self._whole = sum(end - start for _, start, end in replay.ranges)
        self._next_tell = self._next_note = self._next_lag = 0.0
        self._lag: int | None = None
        self._started = parts.clock.monotonic()
        self._leave_at = self._started + IN_HAND_S
        self._taken = 0

    def run(self) -> None:
        """Until everything is landed, something is beyond waiting, or `stop` is set."""
        by_partition: dict[TopicPartition, list[tuple[int, int]]] = {}
        for source, start, end in self._replay.ranges:
            by_partition.setdefault(source, []).append((start, end))
        work: queue.SimpleQueue[TopicPartition] = queue.SimpleQueue()
        for source in sorted(by_partition):
            work.put(source)
        readers = [
            threading.Thread(target=self._read_all, args=(work, by_partition), name=f"replay-{n}", daemon=True)
            for n in range(min(self._pace.readers, len(by_partition)))
        ]
        self._lander.start()
        for reader in readers:
            reader.start()
        try:
            self._take(len(readers))
            self._submit(self._replay.drain("end"))
            self._lander.finish(self._go_on)
        finally:
            self._over.set()
            self._lander.abandon()
            for reader in readers:
                reader.join(5)
        self._look_around(last=True)

    def _take(self, running: int) -> None:
        while running and not self._parts.stop.is_set():
            self._look_around()
            try:
                item = self._batches.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _Ended):
                if item.fault is not None:
                    raise item.fault
                running -= 1
                continue
            self._submit(self._replay.receive(item, self._parts.clock.monotonic()))
            self._taken += len(item)
            if self._replay.open_memory > self._parts.memory_bytes // 4:
                self._submit(self._replay.drain("memory"))
            self._keep_pace()

    def _submit(self, sealed: Sequence[Snapshot]) -> None:
        for snapshot in sealed:
            self._lander.submit(snapshot, self._go_on)
        for snapshot in self._lander.settled():
            self._replay.settled(snapshot)

    def _keep_pace(self) -> None:
        rate, limit = self._pace.records_per_s, self._pace.max_live_lag
        while limit is not None and (self._lag or 0) > limit and not self._parts.stop.wait(POLL_S):
            self._look_around()
        while rate is not None:
            ahead = self._taken / rate - (self._parts.clock.monotonic() - self._started)
            if ahead <= 0 or self._parts.stop.wait(min(ahead, POLL_S)):
                return
            self._look_around()

    def _go_on(self) -> bool:
        """Look around; False where it was told to stop, and the world has had its time to take what is in hand."""
        self._look_around()
        return self._parts.clock.monotonic() < self._leave_at

    def _look_around(self, *, last: bool = False) -> None:
        """Whatever is due beside the work: faults, the live lag, progress, the record of the attempt."""
        if self._lander.fault is not None:
            raise self._lander.fault
        now = self._parts.clock.monotonic()
        if not self._parts.stop.is_set():
            self._leave_at = now + IN_HAND_S
        if now >= self._next_lag:
            self._next_lag = now + LAG_S
            self._lag = live_lag(self._parts.admin, self._dataset, self._lag)
        if now >= self._next_tell or last:
            self._next_tell = now + TELL_S
            seen = min(self._read.total, self._whole)
            landed = self._lander.landed
            self._tell(ReplayProgress(seen, self._whole, self._replay.selected, landed, self._lag, self._trouble.text))
        if now >= self._next_note:
            self._next_note = now + RECORD_S
            self._note(Counts(self._replay.selected, self._lander.landed, self._lander.lettered))

    # The readers' threads

    def _read_all(
        self,
        work: queue.SimpleQueue[TopicPartition],
        ranges: Mapping[TopicPartition, Sequence[tuple[int, int]]],
    ) -> None:
        fault: StreamLakeError | None = LogUnavailable("a reader thread has died")
        try:
            while not self._over.is_set():
                try:
                    source = work.get_nowait()
                except queue.Empty:
                    break
                for start, end in ranges[source]:
                    self._read_range(source, start, end)
            fault = None
        except StreamLakeError as found:
            fault = found
        finally:
            self._put(_Ended(fault))

    def _read_range(self, source: TopicPartition, start: int, end: int) -> None:
        at, attempt = start, 0
        since = self._parts.clock.monotonic()
        while not self._over.is_set():
            try:
                for batch in self._parts.reader.read(source, at, end):
                    self._put(batch)
                    at = batch.next_offset
                    self._read.at[source, start] = at - start
                    attempt, since, self._trouble.text = 0, self._parts.clock.monotonic(), None
                    if self._over.is_set():
                        return
                self._read.at[source, start] = end - start
                return
            except WorldFault as fault:
                if self._parts.clock.monotonic() - since > PATIENCE_S:
                    raise
                self._trouble.text = f"{type(fault).__name__}: {fault}"
                self._over.wait(backoff_s(attempt))
                attempt += 1

    def _put(self, item: RecordBatch | _Ended) -> None:
        while not self._over.is_set():
            try:
                self._batches.put(item, timeout=POLL_S)
                return
            except queue.Full:
                continue


def live_lag(admin: LogAdmin, dataset: str, otherwise: int | None = None) -> int | None:
    """How many records the live group of a dataset is behind; `otherwise` where that cannot be told just now."""
    topic = raw_topic(dataset)
    try:
        info = admin.topics([topic]).get(topic)
        if info is None:
            return otherwise
        lanes = [TopicPartition(topic, number) for number in range(info.partitions)]
        marks = admin.watermarks(lanes)
        committed = admin.group_offsets(consumer_group(dataset), lanes)
    except StreamLakeError:
        return otherwise
    if not committed:
        return otherwise
    return sum(max(0, mark.high - committed[lane].offset) for lane, mark in marks.items() if lane in committed)
