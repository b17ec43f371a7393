"""A member of a group on the log in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamlake.adapters.event_log.memory.store import Group, Member, Store
from streamlake.domain.errors import NotAMember, OperatorFault, PositionLost
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import LogSubscriber, Subscription, SubscriptionListener

WAIT_STEP_S = 0.05
"""How often a poll that waits looks again."""


class MemorySubscriber(LogSubscriber):
    def __init__(self, store: Store) -> None:
        self._store = store

    def subscribe(self, group: str, topics: Sequence[str], listener: SubscriptionListener) -> Subscription:
        return MemorySubscription(self._store, group, tuple(topics), listener)


class MemorySubscription(Subscription):
    """One member. Each member tends to itself: it gives up what is above its share, then takes what is free.

    Hence a partition moves in two steps, and is never owned twice: `revoked` returns, the ownership is released, and
    only then another member's poll may find it free.
    """

    def __init__(self, store: Store, group: str, topics: tuple[str, ...], listener: SubscriptionListener) -> None:
        self._store = store
        self._group = group
        self._topics = topics
        self._listener = listener
        self._owned: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        """Where to read on; what is owned and not in here is held."""
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        self._closed = False
        with store.lock:
            self._member = self._join()

    def poll(self, max_records: int, timeout_s: float) -> Sequence[RecordBatch]:
        left = timeout_s
        while True:
            self._tend()
            batches = self._fetch(max_records)
            if batches or left <= 0 or self._store.wait is None:
                break
            step = min(WAIT_STEP_S, left)
            self._store.wait(step)
            left -= step
        if not batches:
            with self._store.lock:
                for topic in self._topics:
                    self._store.topic(topic)
        return batches

    def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        with self._store.lock:
            for partition in positions:
                self._store.partition(partition)
            group = self._store.groups[self._group]
            stray = [p for p in positions if group.owners.get(p) != self._member]
            if self._member not in group.members or stray:
                raise NotAMember(f"group {self._group}: commit refused, no longer the owner of {_listed(stray)}")
            group.commits.update(positions)

    def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        with self._store.lock:
            commits = self._store.groups[self._group].commits
            return {p: commits[p] for p in partitions if p in commits}

    def start(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._owned:
            raise ValueError(f"start: {partition} is not owned by this member")
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= self._owned.intersection(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= set(partitions)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._see_what_is_lost()
        self._give_up(self._owned)
        with self._store.lock:
            self._store.groups[self._group].drop(self._member)

    def _join(self) -> int:
        member = next(self._store.member_ids)
        name = f"{self._store.client_id}@memory"
        self._store.group(self._group).members[member] = Member(name, self._topics, self._store.clock.monotonic())
        return member

    def _tend(self) -> None:
        if self._closed:
            raise ValueError("poll: the subscription is closed")
        with self._store.lock:
            group = self._store.groups[self._group]
            if self._member in group.members:
                group.members[self._member].heard = self._store.clock.monotonic()
            else:
                self._member = self._join()
        self._see_what_is_lost()
        with self._store.lock:
            surplus = self._above_share(self._store.group(self._group))
        self._give_up(surplus)
        with self._store.lock:
            taken = self._take_what_is_free(self._store.group(self._group))
        if taken:
            self._owned |= set(taken)
            starts = self._listener.assigned(taken)
            self._positions.update({p: offset for p, offset in starts.items() if p in self._owned})

    def _see_what_is_lost(self) -> None:
        with self._store.lock:
            lost = self._owned - self._store.groups[self._group].owned_by(self._member)
        if lost:
            self._forget(lost)
            self._listener.lost(sorted(lost))

    def _above_share(self, group: Group) -> list[TopicPartition]:
        surplus: list[TopicPartition] = []
        for name in self._topics:
            owned = sorted(p for p in self._owned if p.topic == name)
            if owned and name in self._store.topics and self._member in group.members:
                share = group.fair_share(name, len(self._store.topic(name).partitions), self._member)
                surplus += owned[share:]
        return surplus

    def _give_up(self, surplus: Iterable[TopicPartition]) -> None:
        given = sorted(surplus)
        if not given:
            return
        self._listener.revoked(given)
        self._forget(given)
        with self._store.lock:
            owners = self._store.groups[self._group].owners
            for partition in given:
                if owners.get(partition) == self._member:
                    del owners[partition]

    def _take_what_is_free(self, group: Group) -> list[TopicPartition]:
        taken: list[TopicPartition] = []
        for name in self._topics:
            if name not in self._store.topics or self._member not in group.members:
                continue
            places = [TopicPartition(name, n) for n in range(len(self._store.topic(name).partitions))]
            wanted = group.fair_share(name, len(places), self._member) - sum(p in self._owned for p in places)
            free = [p for p in places if p not in group.owners and p not in self._owned]
            taken += free[: max(0, wanted)]
        group.owners.update(dict.fromkeys(taken, self._member))
        return taken

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._owned.discard(partition)
            self._paused.discard(partition)
            self._positions.pop(partition, None)

    def _fetch(self, max_records: int) -> list[RecordBatch]:
        """What there is, beginning with another partition each time so that none starves."""
        readable = sorted(self._positions.keys() - self._paused)
        self._turn += 1
        batches = []
        for n in range(len(readable)):
            place = readable[(self._turn + n) % len(readable)]
            batch = self._next_of(place, max_records)
            if batch is not None:
                batches.append(batch)
                max_records -= len(batch)
        return batches

    def _next_of(self, place: TopicPartition, max_records: int) -> RecordBatch | None:
        start = self._positions[place]
        try:
            with self._store.lock:
                partition = self._store.partition(place)
                if not partition.low <= start <= partition.high:
                    raise PositionLost(f"{place}: offset {start} is outside of [{partition.low}, {partition.high}]")
                end = min(partition.high, start + max_records)
                batch = partition.batch(place, start, end) if start < end else None
        except OperatorFault as fault:
            del self._positions[place]
            self._listener.failed(place, fault)
            return None
        if batch is not None:
            self._positions[place] = end
        return batch


def _listed(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "anything"
