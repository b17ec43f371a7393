"""The consumer group: a coordinator that moves partitions gently or by force, and members that learn of it late.

A partition taken by force has two owners until the old one polls and is told: it reads, lands and commits meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.simulation.choices import Choices
from tests.simulation.effects import effect
from tests.simulation.facts import DATASET, MARKER, PARTITIONS, Facts
from tests.simulation.ports import VisibleReader, picked
from tests.simulation.witness import Witness

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.errors import NotAMember, OperatorFault, PositionLost
from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import Lane, Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import Subscription, SubscriptionListener

if TYPE_CHECKING:
    from tests.simulation.process import Process

RAW = raw_topic(DATASET)
GROUP = consumer_group(DATASET)
SOURCES = [TopicPartition(RAW, number) for number in range(PARTITIONS)]


class Group:
    """Who owns what, as the coordinator sees it, and what was committed."""

    def __init__(self, log: MemoryEventLog, facts: Facts, witness: Witness, choices: Choices) -> None:
        self.facts = facts
        self.choices = choices
        self.witness = witness
        self.target: dict[TopicPartition, Process] = {}
        self.holder: dict[TopicPartition, Process | None] = dict.fromkeys(SOURCES)
        self.term: dict[TopicPartition, int] = dict.fromkeys(SOURCES, 0)
        """Goes up whenever a partition is taken by force."""
        self.history: list[dict[TopicPartition, Position]] = []
        """Every commit ever asked for: any of them may be applied again."""
        self.strict = False
        """Refuse the commits of strangers, and tell everybody at once what is lost."""
        self.store = log._store
        self.admin = log.admin()
        self.reader = VisibleReader(log, facts)

    def move(self, source: TopicPartition, to: Process, *, by_force: bool) -> None:
        """Give a partition to a member. By force its holder is not asked."""
        self.target[source] = to
        if by_force:
            self.holder[source] = None
            self.term[source] += 1

    def gone(self, process: Process) -> None:
        """A member is no more: what it held is free."""
        for source, holder in self.holder.items():
            if holder is process:
                self.holder[source] = None
                self.term[source] += 1

    def apply(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Set committed offsets."""
        self.admin.alter_group_offsets(GROUP, positions)
        self.witness.committed(positions)

    def committed(self, sources: Sequence[TopicPartition] = SOURCES) -> Mapping[TopicPartition, Position]:
        """What is committed."""
        return self.admin.group_offsets(GROUP, sources)

    def expire(self) -> None:
        """The group's offsets are gone."""
        self.store.groups[GROUP].commits.clear()

    def visible(self, source: TopicPartition, start: int, most: int) -> RecordBatch | None:
        """The next records, without the markers that no reader ever sees. Raises `PositionLost`, `TopicMissing`."""
        partition = self.store.partition(source)
        if not partition.low <= start <= partition.high:
            raise PositionLost(f"{source}: {start} is outside of [{partition.low}, {partition.high}]")
        kinds = self.facts.lanes[Lane(self.topic_id(), source.partition)].kinds
        while start < partition.high:
            end = min(start + most, partition.high)
            wanted = [at for at, kind in enumerate(kinds[start:end]) if kind != MARKER]
            if wanted:
                return picked(partition.batch(source, start, end), wanted)
            start = end
        return None

    def low(self, source: TopicPartition) -> int:
        """The first offset that retention has left."""
        return self.store.partition(source).low

    def topic_id(self) -> str:
        """The raw topic's id now. Raises `TopicMissing`."""
        return self.store.topic(RAW).topic_id


class SimulatedSubscription(Subscription):
    """A member."""

    def __init__(self, group: Group, me: Process, listener: SubscriptionListener, most: int) -> None:
        self._group = group
        self._me = me
        self._listener = listener
        self._most = most
        self._owned: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0

    def poll(self, max_records: int, timeout_s: float) -> Sequence[RecordBatch]:
        self._tend()
        found, failed = effect("poll", "", self._fetch)
        for source, fault in failed:
            if source in self._owned:
                self._listener.failed(source, fault)
        return [batch for batch in found if batch.source in self._owned]

    def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        asked = dict(positions)
        self._group.history.append(asked)
        told = " ".join(f"{source.partition}:{position.offset}" for source, position in sorted(asked.items()))
        effect("commit", told, self._commit, asked)

    def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        return effect("committed", "", self._group.committed, partitions)

    def start(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._owned:
            raise ValueError(f"start: {partition} is not owned by this member")
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(self._owned.keys() & partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)

    def close(self) -> None:
        self._give_up(list(self._owned))

    def _commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Sometimes a stranger's commit is taken: the broker has not heard of the new generation yet."""
        strange = [source for source in positions if self._group.holder[source] is not self._me]
        if strange and (self._group.strict or not self._group.choices.chance(0.5)):
            raise NotAMember(f"no longer the owner of {strange}")
        self._group.apply(positions)

    def _tend(self) -> None:
        group = self._group
        lost = [source for source, term in self._owned.items() if group.term[source] != term]
        if lost and (group.strict or not group.choices.chance(0.5)):
            self._forget(lost)
            self._listener.lost(lost)
        asked_back = [
            source
            for source, term in self._owned.items()
            if group.target[source] is not self._me and group.term[source] == term
        ]
        if asked_back:
            self._give_up(asked_back)
        taken = [
            source
            for source in SOURCES
            if source not in self._owned and group.target[source] is self._me and group.holder[source] is None
        ]
        if taken:
            for source in taken:
                group.holder[source] = self._me
                self._owned[source] = group.term[source]
            self._positions.update(self._listener.assigned(taken))

    def _give_up(self, sources: Sequence[TopicPartition]) -> None:
        self._listener.revoked(sources)
        for source in sources:
            if self._group.term[source] == self._owned.get(source):
                self._group.holder[source] = None
        self._forget(sources)

    def _forget(self, sources: Sequence[TopicPartition]) -> None:
        for source in sources:
            self._owned.pop(source, None)
            self._positions.pop(source, None)
            self._paused.discard(source)

    def _fetch(self) -> tuple[list[RecordBatch], list[tuple[TopicPartition, OperatorFault]]]:
        found: list[RecordBatch] = []
        failed: list[tuple[TopicPartition, OperatorFault]] = []
        self._group.topic_id()
        for source, position in list(self._positions.items()):
            if source in self._paused:
                continue
            try:
                batch = self._group.visible(source, position, self._most)
            except PositionLost as fault:
                del self._positions[source]
                failed.append((source, fault))
                continue
            if batch is not None:
                self._positions[source] = batch.next_offset
                found.append(batch)
        return found, failed
