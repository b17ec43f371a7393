"""The event log in the roles that use cases need: writer, reader, subscription, admin.

Offsets are per partition, start at 0, ascend and are never used twice within one topic id. Positions are always the
*next* offset to read. Groups, commits and assignment are Kafka's. Times are milliseconds since the epoch, UTC.

Errors of every method unless it says otherwise: `LogUnavailable` (did not answer, or 'not now'), `AccessDenied`,
`TopicMissing`. A method makes one attempt and classifies the outcome; waiting and retrying are the caller's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streamlake.domain.errors import OperatorFault, PartitionMissing
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import AppendOutcome, OutgoingRecord, RecordBatch


class LogWriter(Protocol):
    """Appends with acknowledgement: idempotent, ordered per partition, acks from all in-sync replicas.

    Made after fork. Safe for use by several threads.
    """

    @abstractmethod
    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        """Hand records over and return at once; `done` is called exactly once with one outcome per record, in order.

        `done` may run on the writer's own thread, or on the caller's before this returns; it must be quick and not
        raise. Never raises for a record's sake: a full queue is a `NotStored` outcome. Records of one call and one
        partition keep their order. `RecordTooLarge` is said of a record that is too large by itself: what a log refuses
        together is sent again one by one, and may then come after later ones.
        """

    @abstractmethod
    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        """`append`, waiting for the outcomes. Waits at most the delivery timeout."""

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Wait for outcomes at most that long; what is left is decided: `NotStored` where it is certain that it was
        never sent, else `OutcomeUnknown`. Idempotent. Every append after it is `NotStored`."""


class LogReader(Protocol):
    """Bounded reads, without a group: nobody's position moves."""

    @abstractmethod
    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        """Every visible record with an offset in `[start, until)`, ascending, in batches of bounded memory.

        Ends when the position reaches `until` or the high watermark as of the call, also where the range ends in gaps.
        Aborted transactions are not visible. Raises `PositionLost` where `start` is below the low watermark.
        """


class SubscriptionListener(Protocol):
    """Told of what happens to partitions, always from within `Subscription.poll` or `close`, on the caller's thread.

    What it raises comes out of that call, or of the next `poll` where this one has records to return. Partitions of an
    `assigned` that raised are held until `start`, or until it is called for them again.
    """

    @abstractmethod
    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These partitions are ours now. Answer with the position to start each from; one left out is held: owned,
        but nothing is read from it until `Subscription.start`."""

    @abstractmethod
    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These are about to be taken away; until this returns they are still ours and can be committed."""

    @abstractmethod
    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These are ours no more, and have not been for a while: others may read them already."""

    @abstractmethod
    def failed(self, partition: TopicPartition, fault: OperatorFault) -> None:
        """This partition cannot be read on by itself (`PositionLost`, `TopicMissing`, `AccessDenied`): it is held."""


class Subscription(Protocol):
    """One member of one consumer group. Not safe for several threads: one thread polls, commits and closes.

    Nothing is committed by itself, at close neither. Reads committed records only.
    """

    @abstractmethod
    def poll(self, max_records: int, timeout_s: float) -> Sequence[RecordBatch]:
        """Wait up to `timeout_s` for records, and return at most `max_records` of them, one batch per partition.

        Also keeps the membership alive and runs the listener. Only partitions assigned and not paused appear.
        Raises `LogUnavailable`, or `TopicMissing` for a topic of the subscription, only when it has no records to
        return; the subscription stays usable.
        """

    @abstractmethod
    def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit positions with their metadata, and wait for the answer. Raises `NotAMember` where the group has moved
        on or one of them is not owned, `LogUnavailable` where the outcome is not known. Moves nothing but these."""

    @abstractmethod
    def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """The group's committed positions; a partition without one is absent. Callable within `assigned`."""

    @abstractmethod
    def start(self, partition: TopicPartition, offset: int) -> None:
        """Begin, or go on, reading an owned partition at `offset`, held or not."""

    @abstractmethod
    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Return no records of these owned partitions until `resume`; positions stay. Repeating it is fine."""

    @abstractmethod
    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo `pause`. Partitions not paused are left as they are; held ones stay held."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group (the listener is told `revoked`) and release everything. Idempotent."""


class LogSubscriber(Protocol):
    """Opens subscriptions."""

    @abstractmethod
    def subscribe(self, group: str, topics: Sequence[str], listener: SubscriptionListener) -> Subscription:
        """Join `group` for these topics. Partitions come with a later `poll`."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `config` has Kafka's own names and text values."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it is. `topic_id` is new whenever a topic of that name is created anew; of `A-Z a-z 0-9 - _` alone."""

    name: str
    topic_id: str
    partitions: int
    replication: int

    def insist_on(self, partitions: Iterable[int]) -> None:
        """Raises `PartitionMissing`, naming the first of these that the topic does not have."""
        missing = next((number for number in partitions if not 0 <= number < self.partitions), None)
        if missing is not None:
            has = f"{self.partitions} partition{'' if self.partitions == 1 else 's'}"
            raise PartitionMissing(f"{self.name}: has {has}, there is no partition {missing}")


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group: `state` is Kafka's word (`Stable`, `Empty`, `Dead` ...); members are client ids with hosts."""

    group: str
    state: str
    members: Sequence[str]


class LogAdmin(Protocol):
    """Looking at, and setting up, topics and groups. Safe for use by several threads."""

    @abstractmethod
    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        """The topics of these names, or all; the missing ones are absent (never `TopicMissing`)."""

    @abstractmethod
    def topic_config(self, name: str) -> Mapping[str, str]:
        """The effective configuration of a topic, in Kafka's names."""

    @abstractmethod
    def broker_count(self) -> int:
        """How many brokers there are now: the most a replication factor can be."""

    @abstractmethod
    def create_topic(self, spec: TopicSpec) -> bool:
        """Create a topic; False where one of that name exists already (it is left as it is). Once created, it can be
        written and read: whoever serves it knows it. Raises `SettingsInvalid` for more replicas than there are brokers,
        or a configuration that cannot be, and `LogUnavailable` where it is not served in time; it may be there then."""

    @abstractmethod
    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set these keys of a topic's configuration and leave every other key alone."""

    @abstractmethod
    def add_partitions(self, name: str, total: int) -> None:
        """Grow a topic to `total` partitions. The caller knows that this changes which partition a key goes to. Raises
        `SettingsInvalid` where it has as many or more."""

    @abstractmethod
    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        """Low and high (for read-committed readers: last stable offset) of each partition."""

    @abstractmethod
    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int | None]:
        """Per partition the lowest offset whose timestamp is >= the given one; None where there is none.

        Timestamps need not ascend in a log: later records can be older, so filter each record.
        """

    @abstractmethod
    def group(self, group: str) -> GroupInfo:
        """The group's state and members; an unknown group is `Dead` with no members."""

    @abstractmethod
    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """Committed positions of any group; partitions without one are absent."""

    @abstractmethod
    def alter_group_offsets(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        """Set committed positions of a group without members, all or none. Raises `GroupActive` where it has some."""

    @abstractmethod
    def close(self) -> None:
        """Release connections. Idempotent."""


class EventLog(Protocol):
    """One log, which hands out its roles. Opens nothing by itself, so it may be made before a fork; roles after it."""

    @abstractmethod
    def writer(self) -> LogWriter:
        """A new writer, to be closed by the caller."""

    @abstractmethod
    def reader(self) -> LogReader:
        """A reader."""

    @abstractmethod
    def subscriber(self) -> LogSubscriber:
        """What opens subscriptions."""

    @abstractmethod
    def admin(self) -> LogAdmin:
        """An admin, to be closed by the caller."""
