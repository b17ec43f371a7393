"""The consumer: polls, hands on, waits, and commits. The guarantee is in `_turn` and `_commit`, to be read there.

    poll --> LandRecords --> sealed snapshots --> LandingThread --> settled --> commit
             (in order)       (off this thread)                     (only then)

One thread polls a dataset and never stops polling; its landing thread does whatever may take long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamlake.domain.errors import (
    Halted,
    OperatorFault,
    PositionLost,
    ReplayRefused,
    StreamLakeError,
    TopicMissing,
    TopicRecreated,
    WorldFault,
)
from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import Lane, Position, TopicPartition, Watermarks
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.model.snapshots import (
    NOTHING_RECENT,
    Recent,
    Snapshot,
    commit_metadata,
    committed_recent,
    committed_replay,
    committed_topic_id,
)
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogSubscriber, Subscription, SubscriptionListener
from streamlake.domain.use_cases.circuit_breaker import CircuitOpen
from streamlake.domain.use_cases.control import HALTED, Control, Decision, StopOrder
from streamlake.domain.use_cases.land_records import LandRecords, LandSnapshots
from streamlake.domain.use_cases.rewinding import Rewinding
from streamlake.domain.use_cases.start_positions import Gap, Start, StartPositions
from streamlake.entrypoints.halts import Halts, TruncationWatch
from streamlake.entrypoints.landing_telemetry import LandingTelemetry
from streamlake.entrypoints.landing_thread import PROBE_S, LandingThread, Settled, backoff_s
from streamlake.entrypoints.log_health import LogHealth
from streamlake.entrypoints.stand_by import StandBy

POLL_S = 0.2
POLL_BYTES = 16 * 1024 * 1024
"""About how much one poll may bring, whatever the size of an event."""

MAX_POLL_RECORDS = 4_000
"""What a poll brings is in memory beside what is open: more of it is hardly faster."""

FIRST_POLL_RECORDS = 64
REASSERT_S = 60.0
"""A stale member can move a committed offset backwards: idle partitions are committed again this often."""

REVOKE_S = 5.0
DRAIN_S = 12.0
"""How long a stop waits for what is buffered; `consumer_process` has the deadline of all."""

LAST_ROLL_UPS_S = 3.0
COMMIT_RETRY_S = 1.0
RESUME_BELOW = 0.75
"""Paused by the memory budget, polling goes on once use is below this share of it."""


class MemoryBudget:
    """What all datasets of this process may buffer together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}

    def report(self, dataset: str, used: int) -> float:
        """Note what one dataset uses; returns the share of the limit that all use."""
        with self._lock:
            self._used[dataset] = used
            return sum(self._used.values()) / self.limit


@dataclass(frozen=True, slots=True)
class ConsumerParts:
    """What a dataset's consumer is made of (`container` builds it, after fork)."""

    subscriber: LogSubscriber
    admin: LogAdmin
    core: LandRecords
    landing: LandSnapshots
    starts: StartPositions
    control: Control
    clock: Clock
    telemetry: LandingTelemetry
    reader: LogReader
    replay_plan: Callable[[str], ReplayPlan]
    replay_core: Callable[[str], LandRecords]


class DatasetConsumer(SubscriptionListener):
    """One dataset's poll loop."""

    def __init__(self, dataset: str, parts: ConsumerParts, budget: MemoryBudget) -> None:
        self.dataset = dataset
        self._missing: Sequence[str] = ()
        self._seen_topic_id: str | None = None
        self._topic = raw_topic(dataset)
        self._parts = parts
        self._core = Rewinding(parts.core, parts.replay_core)
        self._stand_by = StandBy(dataset, parts.control, parts.clock)
        self._clock = parts.clock
        self.telemetry = parts.telemetry
        self.log_health = LogHealth(parts.clock)
        self._budget = budget
        self._landing = LandingThread(dataset, parts.landing, parts.clock, parts.telemetry)
        self._in_flight: list[Snapshot] = []
        self._owned: set[TopicPartition] = set()
        self._undecided: dict[TopicPartition, float] = {}
        self._topic_ids: dict[TopicPartition, str] = {}
        self._halts = Halts(dataset, parts.control, parts.clock, parts.telemetry)
        self._truncation = TruncationWatch()
        self._attempts: dict[TopicPartition, int] = {}
        self._to_commit: dict[TopicPartition, Position] = {}
        self._committed: dict[TopicPartition, Position] = {}
        self._next_commit = 0.0
        self._next_reassert = 0.0
        self._paused = self._starved = False
        self._poll_records = FIRST_POLL_RECORDS
        self._last_turn = parts.clock.monotonic()
        self._leaving = False
        self._subscription: Subscription

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that do not go on, and why."""
        return self._halts.reasons

    @property
    def troubles(self) -> list[str]:
        """Why this dataset is not ready, in words; empty if it is."""
        found = [f"{source}: {why}" for source, why in sorted(self.halted.items())]
        if (order := self._stand_by.order) is not None:
            found.append(f"{self.dataset}: stopped for the rewind {order.replay_id} by {order.by} since {order.at}")
        found += [f"{topic}: does not exist; `streamlake topics provision` makes it" for topic in self._missing]
        if trouble := self.log_health.trouble:
            found.append(f"{self.dataset}: {trouble}")
        if self._landing.trouble:
            found.append(f"{self.dataset}: landing: {self._landing.trouble}")
        if not self._landing.alive:
            found.append(f"{self.dataset}: the landing thread is not running")
        if self._starved:
            found.append(f"{self.dataset}: paused: other datasets of this process hold its memory budget")
        return found

    @property
    def seconds_since_turn(self) -> float:
        """How long ago the loop last came round."""
        return self._clock.monotonic() - self._last_turn

    @property
    def owned(self) -> list[TopicPartition]:
        """The partitions this member has now."""
        return list(self._owned)

    @property
    def positions(self) -> dict[TopicPartition, Position]:
        """The committed positions of the partitions owned, as far as known here."""
        return dict(self._committed)

    @property
    def standing_by(self) -> StopOrder | None:
        """The order in force to stay out of the group."""
        return self._stand_by.order

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set, then drain, commit and leave. While a rewind has the group, stay out of it."""
        self._landing.start()
        self._stand_by.look()
        try:
            while not stop.is_set():
                self._wait_while_stopped(stop)
                if not stop.is_set():
                    self._take_part(stop)
        finally:
            self._landing.stop(timeout_s=LAST_ROLL_UPS_S)

    def _take_part(self, stop: threading.Event) -> None:
        self._leaving = False
        self._subscription = self._parts.subscriber.subscribe(consumer_group(self.dataset), [self._topic], self)
        try:
            while not stop.is_set() and self._stand_by.order is None:
                self._turn()
            self._finish(DRAIN_S, "shutdown" if stop.is_set() else "stopped")
        finally:
            self._leaving = True
            if stop.is_set():
                self._landing.stop(timeout_s=LAST_ROLL_UPS_S)
            self._subscription.close()

    def _wait_while_stopped(self, stop: threading.Event) -> None:
        order = self._stand_by.order
        if order is None:
            return
        self.telemetry.standing_by(order.replay_id)
        while self._stand_by.order is not None and not stop.wait(POLL_S):
            self._last_turn = self._clock.monotonic()
            self._settle()
            self._budget.report(self.dataset, self._buffered)
        self.telemetry.going_on(order.replay_id)

    def _turn(self) -> None:
        self._last_turn = now = self._clock.monotonic()
        for batch in self._poll():
            self.telemetry.received(batch)
            self._submit(self._core.receive(batch, now))
        self._submit(self._core.tick(now))
        self._settle()
        if self._landing.fatal is not None:
            raise self._landing.fatal
        self._heed_watch()
        self._end_rewinds(now)
        self._halts.record(now)
        self._decide_starts(now)
        self._respect_budget()
        self._commit(now)

    def _poll(self) -> Sequence[RecordBatch]:
        try:
            batches = self._subscription.poll(self._poll_records, POLL_S)
        except (WorldFault, OperatorFault) as fault:  # told only when there are no records to lose
            self.log_health.poll_failed(fault)
            self.telemetry.log_trouble(fault)
            return ()
        if batches:
            self.log_health.served()
            records = sum(map(len, batches))
            size = sum(len(value) for batch in batches for value in batch.values if value) // records + 1
            self._poll_records = max(1, min(MAX_POLL_RECORDS, POLL_BYTES // size, 2 * self._poll_records))
        return batches

    def _submit(self, sealed: Sequence[Snapshot]) -> None:
        for snapshot in sealed:
            self._in_flight.append(snapshot)
            self._landing.submit(snapshot)

    def _settle(self) -> None:
        while not self._landing.settled.empty():
            self._settle_one(self._landing.settled.get())

    def _settle_one(self, done: Settled) -> None:
        self._in_flight.remove(done.snapshot)
        if done.fault is None:
            self._settle_landed(done.snapshot)
            return
        # Nothing of this snapshot may be committed. Whose fault it is halts; the others are read again.
        sources = self._core.still_owned(done.snapshot)
        if not sources:
            return
        if not isinstance(done.fault, CircuitOpen):
            self._read_anew(sources, done.fault)
            return
        if done.snapshot.replay_id is not None:
            self._abort_rewind(sources, done.fault)
            return
        self._core.forget(sources)
        self._undecided.update(dict.fromkeys(sources, 0.0))
        if done.fault.source in sources:
            self._halt([done.fault.source], done.fault)
            self._halts.to_record(done.fault.source, done.fault.topic_id, done.fault)

    def _settle_landed(self, snapshot: Snapshot) -> None:
        landed = self._core.settled(snapshot)
        self._to_commit.update(landed)
        for source in landed:
            self._halts.landed(source)
        for source, fault in self._core.halted(snapshot).items():
            self._halt([source], fault)

    def _read_anew(self, sources: Sequence[TopicPartition], fault: OperatorFault) -> None:
        """The topic is not what it was: where these go on, if at all, is decided at once, and from the beginning."""
        self._halt(sources, fault)
        self._undecided.update(dict.fromkeys(sources, 0.0))

    def live_ends(self) -> dict[TopicPartition, int]:
        """Where what has landed of each partition ends, as far as known here."""
        end = self._parts.landing.part_logs.live_end
        return {source: end(Lane(topic_id, source.partition)) for source, topic_id in [*self._topic_ids.items()]}

    def watch(
        self,
        topic_id: str | None,
        landed: Mapping[TopicPartition, int],
        marks: Mapping[TopicPartition, Watermarks],
        missing: Sequence[str],
    ) -> None:
        """What the watcher's thread sees every few seconds: the raw topic's id, `live_ends`, the watermarks asked for
        after them, topics that are not there."""
        self._stand_by.look()
        self._missing = missing
        self._seen_topic_id = topic_id
        self._truncation.compare(landed, marks, self._clock.monotonic())

    def _heed_watch(self) -> None:
        # A recreated topic whose partition is as long as what was read of the old one gives no record to notice it by.
        seen = self._seen_topic_id
        old = [source for source, topic_id in self._topic_ids.items() if seen is not None and topic_id != seen]
        if stale := sorted(self._owned.intersection(old) - self._undecided.keys()):
            self._read_anew(stale, TopicRecreated(f"{self._topic}: its id is {seen} now"))
        for source, fault in self._truncation.take().items():
            if source in self._owned and source not in self.halted:
                self._halts.to_record(source, self._topic_ids[source], fault)
                self._halt([source], fault)

    def _commit(self, now: float) -> None:
        """Positions reach this point only when every record below them is in the raw zone or the dead-letter topic."""
        if now >= self._next_reassert:
            self._next_reassert = now + REASSERT_S
            self._to_commit = self._committed | self._to_commit
        if not self._to_commit or now < self._next_commit:
            return
        try:
            self._subscription.commit(self._to_commit)
        except StreamLakeError as fault:
            # Also where the group has moved on: what it takes is dropped when it says so, and what it leaves with us
            # is committed in its new generation. Nothing else would: no new record may ever come.
            self.telemetry.commit_trouble(fault)
            self._next_commit = now + COMMIT_RETRY_S
        else:
            self.telemetry.committed(self._to_commit, self._committed)
            self._committed |= self._to_commit
            self._to_commit.clear()

    def _finish(self, seconds: float, reason: str) -> None:
        """Land and commit what is buffered, within a time; what is not done by then will be read again."""
        self._submit(self._core.drain(reason))
        deadline = self._clock.monotonic() + seconds
        while self._in_flight and (left := deadline - self._clock.monotonic()) > 0:
            try:
                done = self._landing.settled.get(timeout=min(left, 0.5))
            except queue.Empty:
                continue
            self._settle_one(done)
        self._next_commit = 0.0
        self._commit(self._clock.monotonic())

    @property
    def _buffered(self) -> int:
        return self._core.open_memory + sum(snapshot.memory for snapshot in self._in_flight)

    def _respect_budget(self) -> None:
        used = self._buffered
        share = self._budget.report(self.dataset, used)
        self.telemetry.buffered(used, self._core.opened_at, self._clock.monotonic())
        if share >= 1:
            self._submit(self._core.drain("memory"))
        if share >= 1 and not self._paused:
            self._paused = True
            self._subscription.pause(sorted(self._owned))
        elif share < RESUME_BELOW and self._paused:
            self._paused = False
            self._subscription.resume(sorted(self._owned - self._undecided.keys()))
        self._starved = self._paused and not used

    # Partitions come and go

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Hold them all; the loop decides each start, with time to look things up."""
        self._owned.update(partitions)
        self._undecided.update(dict.fromkeys(partitions, 0.0))
        self.log_health.served()
        self.telemetry.assigned(partitions)
        return {}

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.telemetry.revoked(partitions, lost=False)
        if not self._leaving:  # then it is finished as far as it can be
            self._finish(REVOKE_S, "revoked")
        self._drop(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.telemetry.revoked(partitions, lost=True)
        self._drop(partitions)

    def failed(self, partition: TopicPartition, fault: OperatorFault) -> None:
        self._core.forget([partition])
        self._halt([partition], fault)

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        self._core.forget(partitions)
        for source in partitions:
            self._owned.discard(source)
            self._halts.clear(source)
            self._undecided.pop(source, None)
            self._topic_ids.pop(source, None)
            self._attempts.pop(source, None)
            self._to_commit.pop(source, None)
            self._committed.pop(source, None)

    def _halt(self, sources: Sequence[TopicPartition], fault: StreamLakeError) -> None:
        """Nothing more is read from these; they are looked at again now and then, since an operator may mend them."""
        self._core.forget(sources)
        self._subscription.pause(list(sources))
        for source in sources:
            self._undecided[source] = self._clock.monotonic() + PROBE_S
            self._to_commit.pop(source, None)
            self._committed.pop(source, None)
        self._halts.note(sources, fault)

    def _decide_starts(self, now: float) -> None:
        due = [source for source, at in self._undecided.items() if at <= now and not self._halts.is_unrecorded(source)]
        if not due:
            return
        try:
            decisions = self._parts.control.decisions(self.dataset)
            info = self._parts.admin.topics([self._topic]).get(self._topic)
            if info is None:
                raise TopicMissing(f"{self._topic}: does not exist; `streamlake topics provision` makes it")
            marks = self._parts.admin.watermarks(due)
            committed = self._subscription.committed(due)
            starts = self._parts.starts.begin()
            for source in due:
                known = info.topic_id, marks[source], committed.get(source)
                self._decide_start(starts, source, decisions.get(source.partition), *known)
        except WorldFault as fault:
            self.telemetry.log_trouble(fault)
            for source in sorted(self._undecided.keys() & due):
                self._attempts[source] = self._attempts.get(source, 0) + 1
                self._undecided[source] = now + backoff_s(self._attempts[source])
        except OperatorFault as fault:
            self._halt(sorted(self._undecided.keys() & due), fault)

    def _decide_start(
        self,
        starts: StartPositions,
        source: TopicPartition,
        decision: Decision | None,
        topic_id: str,
        marks: Watermarks,
        committed: Position | None,
    ) -> None:
        """One partition's start, or its halt: what is the matter with it keeps no other waiting."""
        breaker = self._parts.landing.breaker
        if decision is not None and decision.topic_id == topic_id:
            if decision.state == HALTED:
                self._halt([source], Halted(decision.reason))
                return
            breaker.tolerate(source, decision.tolerate_below)
        breaker.begin(source, _recent(committed, decision))
        if self._rewind(source, topic_id, marks, committed):
            return
        try:
            decided = starts.decide(source, topic_id, marks, committed)
        except OperatorFault as fault:
            self._halt([source], fault)
        else:
            self._start(source, topic_id, decided, committed)

    # Rewinds

    def _rewind(self, source: TopicPartition, topic_id: str, marks: Watermarks, committed: Position | None) -> bool:
        """Begin where a rewind has put this partition; False where it goes on live, True also where it is halted."""
        try:
            block = None if committed is None else committed_replay(committed.metadata)
            if committed is None or block is None or committed_topic_id(committed.metadata) != topic_id:
                return False
            start = max(committed.offset, marks.low)
            plan = self._parts.replay_plan(block.replay_id)
            if plan.topic_id != topic_id:
                raise TopicRecreated(f"{source}: replay {block.replay_id} is of topic id {plan.topic_id}")
            self._submit(self._core.rewind(source, plan, block, start, self._clock.monotonic()))
        except (ReplayRefused, TopicRecreated, ValueError) as fault:
            self._halt([source], fault if isinstance(fault, StreamLakeError) else ReplayRefused(f"{source}: {fault}"))
            return True
        self._read_from(source, topic_id, start)
        self._committed[source] = committed
        self.telemetry.rewound(source, block, start)
        return True

    def _end_rewinds(self, now: float) -> None:
        """Where a rewound partition has landed its range it goes on where it was; also where that ends in markers, of
        which no record tells."""
        for source, start, until in self._core.quiet(now):
            try:
                nothing_left = next(iter(self._parts.reader.read(source, start, until)), None) is None
            except StreamLakeError as fault:
                self.telemetry.log_trouble(fault)
                continue
            if nothing_left:
                self._submit(self._core.reached(source, until))
        for source, position in self._core.ended().items():
            self._go_on_live(source, position)

    def _abort_rewind(self, sources: Sequence[TopicPartition], flood: CircuitOpen) -> None:
        """A flood of dead letters ends the replay of its partition, and never live landing."""
        if flood.source in sources:
            self.telemetry.rewind_aborted(flood.source, flood.why)
            self._go_on_live(flood.source, self._core.give_up(flood.source))
        others = [source for source in sources if source != flood.source]
        self._core.forget(others)
        self._subscription.pause(others)
        self._undecided.update(dict.fromkeys(others, 0.0))

    def _go_on_live(self, source: TopicPartition, position: Position) -> None:
        topic_id = self._topic_ids[source]
        self._submit(self._core.assign(source, topic_id, position.offset))
        self._to_commit[source] = position
        self._read_from(source, topic_id, position.offset)
        self.telemetry.resumed(source, position.offset)

    def _read_from(self, source: TopicPartition, topic_id: str, offset: int) -> None:
        self._topic_ids[source] = topic_id
        self._subscription.start(source, offset)
        # What comes while the budget is used up waits with the others.
        (self._subscription.pause if self._paused else self._subscription.resume)([source])
        self._undecided.pop(source, None)
        self._attempts.pop(source, None)
        self._halts.started(source)

    def _start(self, source: TopicPartition, topic_id: str, decided: Start | Gap, committed: Position | None) -> None:
        if isinstance(decided, Gap):
            self._halt([source], PositionLost(str(decided)))
            return
        self._submit(self._core.assign(source, topic_id, decided.offset))
        self._read_from(source, topic_id, decided.offset)
        if committed is not None:
            # An operator's reset is committed again in our words, or no re-assertion would defend it.
            ours = committed_topic_id(committed.metadata) == topic_id
            self._committed[source] = committed if ours else Position(decided.offset, commit_metadata(topic_id))
        self.telemetry.started(source, decided)


def _recent(committed: Position | None, decision: Decision | None) -> Recent:
    """What the circuit breaker goes on from: nothing, where an operator resumed the partition just there."""
    if committed is None or (decision is not None and committed.offset <= decision.counted_from):
        return NOTHING_RECENT
    return committed_recent(committed.metadata)
