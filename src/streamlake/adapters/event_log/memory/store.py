"""What the log in memory holds: partitions as columns, topics, groups. Whoever looks in here holds the lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from streamlake.domain.errors import PositionLost, TopicMissing
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import Header, OutgoingRecord, RecordBatch
from streamlake.domain.model.topics import partition_for
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import TopicSpec


@dataclass(slots=True)
class Partition:
    """The records of one partition, as columns; `low` is the offset of the first."""

    low: int = 0
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[tuple[Header, ...]] = field(default_factory=list)

    @property
    def high(self) -> int:
        return self.low + len(self.timestamps)

    def append(self, record: OutgoingRecord) -> int:
        self.timestamps.append(record.timestamp)
        self.keys.append(record.key)
        self.values.append(record.value)
        self.headers.append(tuple(record.headers))
        return self.high - 1

    def batch(self, source: TopicPartition, start: int, end: int) -> RecordBatch:
        part = slice(start - self.low, end - self.low)
        columns = (self.timestamps[part], self.keys[part], self.values[part], self.headers[part])
        return RecordBatch(source, range(start, end), *columns)

    def trim(self, before: int) -> None:
        for column in (self.timestamps, self.keys, self.values, self.headers):
            del column[: before - self.low]
        self.low = before


@dataclass(slots=True)
class Topic:
    topic_id: str
    config: dict[str, str]
    partitions: list[Partition]
    keyless: Iterator[int] = field(default_factory=count)

    def partition_for(self, record: OutgoingRecord) -> int:
        if record.partition is not None:
            return record.partition
        if record.key is None:
            return next(self.keyless) % len(self.partitions)
        return partition_for(record.key, len(self.partitions), 0)


@dataclass(slots=True)
class Member:
    name: str
    topics: tuple[str, ...]
    heard: float
    """The clock's monotonic time of its last sign of life."""


@dataclass(slots=True)
class Group:
    members: dict[int, Member] = field(default_factory=dict)
    owners: dict[TopicPartition, int] = field(default_factory=dict)
    commits: dict[TopicPartition, Position] = field(default_factory=dict)

    def drop(self, member: int) -> None:
        self.members.pop(member, None)
        self.owners = {partition: owner for partition, owner in self.owners.items() if owner != member}

    def owned_by(self, member: int) -> set[TopicPartition]:
        return {partition for partition, owner in self.owners.items() if owner == member}

    def fair_share(self, topic: str, partitions: int, member: int) -> int:
        """How many partitions of the topic this member should own. Who owns most keeps the odd ones: few move."""
        owned = {m: 0 for m, info in self.members.items() if topic in info.topics}
        for partition, owner in self.owners.items():
            if partition.topic == topic and owner in owned:
                owned[owner] += 1
        rank = sorted(owned, key=lambda m: (-owned[m], m)).index(member)
        return partitions // len(owned) + (rank < partitions % len(owned))


class Store:
    """All topics and groups of one log. Re-entrant lock; its methods expect it to be held."""

    def __init__(
        self,
        clock: Clock,
        session_timeout_s: float,
        client_id: str,
        log_id: str,
        wait: Callable[[float], object] | None,
    ) -> None:
        self.clock = clock
        self.session_timeout_s = session_timeout_s
        self.client_id = client_id
        self.wait = wait
        self.lock = threading.RLock()
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.member_ids = count(1)
        self._topic_ids = (f"{log_id}-{n}" for n in count(1))

    def create(self, spec: TopicSpec) -> bool:
        """Create a topic unless the name is taken."""
        if spec.name in self.topics:
            return False
        partitions = [Partition() for _ in range(spec.partitions)]
        self.topics[spec.name] = Topic(next(self._topic_ids), dict(spec.config), partitions)
        return True

    def topic(self, name: str) -> Topic:
        """The topic of that name, or TopicMissing."""
        if name not in self.topics:
            raise TopicMissing(f"topic {name} does not exist")
        return self.topics[name]

    def partition(self, place: TopicPartition) -> Partition:
        """The partition, or TopicMissing."""
        partitions = self.topic(place.topic).partitions
        if not 0 <= place.partition < len(partitions):
            raise TopicMissing(f"{place} does not exist: topic {place.topic} has {len(partitions)} partitions")
        return partitions[place.partition]

    def group(self, name: str) -> Group:
        """The group of that name without the members whose session has passed; a new one if there was none."""
        group = self.groups.setdefault(name, Group())
        expired = [m for m, info in group.members.items() if self.has_passed(info)]
        for member in expired:
            group.drop(member)
        return group

    def has_passed(self, member: Member) -> bool:
        """Was the member silent for longer than a session?"""
        return self.clock.monotonic() - member.heard > self.session_timeout_s

    def delete(self, name: str) -> None:
        """Delete a topic and what groups committed to it."""
        self.topic(name)
        del self.topics[name]
        for group in self.groups.values():
            group.owners = {p: owner for p, owner in group.owners.items() if p.topic != name}
            group.commits = {p: position for p, position in group.commits.items() if p.topic != name}

    def trim(self, place: TopicPartition, before: int) -> None:
        """Drop the records below `before`."""
        found = self.partition(place)
        if not found.low <= before <= found.high:
            raise PositionLost(f"{place}: trim must be within [{found.low}, {found.high}], is {before}")
        found.trim(before)


def size_of(record: OutgoingRecord) -> int:
    """The bytes of a record that its sender chose."""
    headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
