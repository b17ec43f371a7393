"""A member of a group on the log in a file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from streamlake.adapters.event_log.sqlite import groups
from streamlake.adapters.event_log.sqlite.database import Database, lane_of
from streamlake.adapters.event_log.sqlite.reader import READ_BYTES, lane_by_number, read_batch
from streamlake.domain.errors import NotAMember, OperatorFault, TopicMissing
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogSubscriber, Subscription, SubscriptionListener

WAIT_STEP_S = 0.05
"""How often a poll that waits looks whether the file has changed: some 10 us each time."""

BEATS_PER_SESSION = 3
"""Kafka's rule: two signs of life may be missed."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What all members made by one log have in common."""

    database: Database
    clock: Clock
    session_timeout_s: float
    name: str

    def now(self) -> float:
        """The wall time in seconds: the one time that processes share."""
        return self.clock.now().timestamp()


class SqliteSubscriber(LogSubscriber):
    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def subscribe(self, group: str, topics: Sequence[str], listener: SubscriptionListener) -> Subscription:
        return SqliteSubscription(self._membership, group, tuple(topics), listener)


class SqliteSubscription(Subscription):
    """Each member tends to itself, there being no coordinator: in its own polls it drops members whose session has
    passed, gives up what is above its own share, and takes what is free.

        free --take--> owned --revoked() returns--> released = free
                         `--its member expired by another one--> free; told lost() at the next poll

    A partition has at most one `owner` row, and a commit is one transaction with a look at it: the fence.
    """

    def __init__(
        self, membership: Membership, group: str, topics: tuple[str, ...], listener: SubscriptionListener
    ) -> None:
        self._ours = membership
        self._database = membership.database
        self._group = group
        self._topics = topics
        self._listener = listener
        self._owned: dict[TopicPartition, int] = {}
        """The partitions that the listener knows to be ours, and their lanes."""
        self._positions: dict[TopicPartition, int] = {}
        """Where to read on; what is owned and not in here is held."""
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        self._closed = False
        self._seen_version = -1
        self._look_again = True
        self._beat_due = 0.0
        self._connection = self._database.connect()
        with self._database.transaction(self._connection):
            self._member = self._join()

    def poll(self, max_records: int, timeout_s: float) -> Sequence[RecordBatch]:
        if self._closed:
            raise ValueError("poll: the subscription is closed")
        left = timeout_s
        while True:
            batches = self._look(max_records)
            if batches or left <= 0:
                break
            # Counted rather than measured: a test's clock may stand still.
            step = min(WAIT_STEP_S, left)
            time.sleep(step)
            left -= step
        if not batches:
            self._say_what_is_missing()
        return batches

    def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        if self._closed:
            raise NotAMember(f"group {self._group}: commit refused, the subscription is closed")
        with self._database.transaction(self._connection):
            for place in positions:
                lane = lane_of(self._connection, place).number
                owner = groups.owner_of(self._connection, self._group, lane)
                if owner != self._member or self._owned.get(place) != lane:
                    raise NotAMember(f"group {self._group}: commit refused, {place} is not ours any more")
            groups.set_positions(self._connection, self._group, positions)

    def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        with self._database.snapshot(self._connection):
            return groups.positions(self._connection, self._group, partitions)

    def start(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._owned:
            raise ValueError(f"start: {partition} is not owned by this member")
        self._positions[partition] = offset
        self._look_again = True

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= self._owned.keys() & set(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= set(partitions)
        self._look_again = True

    def close(self) -> None:
        if self._closed:
            return
        try:
            self._see_what_is_lost(self._view())
            if self._owned:
                self._listener.revoked(list(self._owned))
                self._forget(list(self._owned))
        finally:
            self._closed = True
            try:
                with self._database.transaction(self._connection):
                    groups.drop(self._connection, [self._member])
            finally:
                self._connection.close()

    def _look(self, max_records: int) -> list[RecordBatch]:
        """Tend to the membership and fetch, unless the file is as it was when that found nothing."""
        with self._database.faults():
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        due = self._ours.clock.monotonic() >= self._beat_due
        if version == self._seen_version and not self._look_again and not due:
            return []
        # Noted before looking, since the listener may call start(), and others may write, while we look.
        self._seen_version, self._look_again = version, False
        batches: list[RecordBatch] | None = None
        try:
            self._tend()
            batches = self._fetch(max_records)
        finally:
            if batches is None or batches:
                self._look_again = True
        return batches

    def _tend(self) -> None:
        view = self._view()
        if self._member not in view.members or view.expired or self._ours.clock.monotonic() >= self._beat_due:
            view = self._give_a_sign_of_life()
        self._see_what_is_lost(view)
        surplus = [place for place in view.surplus(self._member) if place in self._owned]
        if surplus:
            self._listener.revoked(surplus)
            lanes = self._forget(surplus)
            with self._database.transaction(self._connection):
                groups.release(self._connection, self._group, self._member, lanes)
            view = self._view()
        if self._member in view.members and (view.takeable(self._member) or self._untold(view)):
            self._take()

    def _view(self) -> groups.View:
        with self._database.snapshot(self._connection):
            return self._now()

    def _now(self) -> groups.View:
        return groups.look(self._connection, self._group, self._topics, self._ours.now(), self._ours.session_timeout_s)

    def _join(self) -> int:
        self._beat_due = self._ours.clock.monotonic() + self._ours.session_timeout_s / BEATS_PER_SESSION
        return groups.join(self._connection, self._group, self._ours.name, self._topics, self._ours.now())

    def _give_a_sign_of_life(self) -> groups.View:
        with self._database.transaction(self._connection):
            view = self._now()
            groups.drop(self._connection, view.expired - {self._member})
            if self._member in view.members:
                groups.beat(self._connection, self._member, self._ours.now())
                self._beat_due = self._ours.clock.monotonic() + self._ours.session_timeout_s / BEATS_PER_SESSION
            else:
                self._member = self._join()
            return self._now()

    def _see_what_is_lost(self, view: groups.View) -> None:
        lost = [place for place, lane in self._owned.items() if view.owners.get(lane) != self._member]
        if lost:
            self._forget(lost)
            self._listener.lost(lost)

    def _untold(self, view: groups.View) -> dict[TopicPartition, int]:
        """Ours in the file although the listener does not know, its last `assigned` having raised."""
        return {place: lane for place, lane in view.owned_by(self._member).items() if place not in self._owned}

    def _take(self) -> None:
        with self._database.transaction(self._connection):
            view = self._now()
            if self._member not in view.members:
                return
            free = {place: view.lanes[place] for place in view.takeable(self._member)}
            groups.take(self._connection, self._group, self._member, free.values())
        # A topic that was recreated a moment ago has a partition of the same name in `_owned`: lost() comes first.
        taken = {place: lane for place, lane in (self._untold(view) | free).items() if place not in self._owned}
        if not taken:
            return
        self._owned |= taken
        told = False
        try:
            starts = self._listener.assigned(sorted(taken))
            told = True
        finally:
            if not told:
                self._forget(taken)
        self._positions |= {place: offset for place, offset in starts.items() if place in self._owned}

    def _forget(self, partitions: Iterable[TopicPartition]) -> list[int]:
        lanes = [self._owned.pop(place) for place in list(partitions)]
        self._paused &= self._owned.keys()
        self._positions = {place: at for place, at in self._positions.items() if place in self._owned}
        return lanes

    def _fetch(self, max_records: int) -> list[RecordBatch]:
        """What there is, beginning with another partition each time so that none starves."""
        readable = sorted(self._positions.keys() - self._paused)
        self._turn += 1
        first = self._turn % len(readable) if readable else 0
        batches: list[RecordBatch] = []
        faults: dict[TopicPartition, OperatorFault] = {}
        with self._database.snapshot(self._connection):
            for place in readable[first:] + readable[:first]:
                try:
                    batch = self._next_of(place, max_records, READ_BYTES // len(readable))
                except OperatorFault as fault:
                    faults[place] = fault
                    continue
                if batch is not None:
                    batches.append(batch)
                    max_records -= len(batch)
        for batch in batches:
            self._positions[batch.source] = batch.next_offset
        for place, why in faults.items():
            del self._positions[place]
            self._listener.failed(place, why)
        return batches

    def _next_of(self, place: TopicPartition, max_records: int, max_bytes: int) -> RecordBatch | None:
        lane = lane_by_number(self._connection, place, self._owned[place])
        start = self._positions[place]
        return read_batch(self._connection, place, lane, start, lane.next, max_records, max_bytes)

    def _say_what_is_missing(self) -> None:
        with self._database.snapshot(self._connection):
            lanes = self._now().lanes
        for topic in self._topics:
            if not any(place.topic == topic for place in lanes):
                raise TopicMissing(f"topic {topic} does not exist")
