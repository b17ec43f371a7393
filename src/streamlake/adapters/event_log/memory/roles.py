"""Writer, reader and admin of the log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from streamlake.adapters.event_log.memory.store import Partition, Store, size_of
from streamlake.domain.errors import GroupActive, NotStored, PositionLost, RecordTooLarge, SettingsInvalid, TopicMissing
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import Appended, AppendOutcome, OutgoingRecord, RecordBatch
from streamlake.domain.model.topics import TOPIC_DEFAULTS
from streamlake.domain.ports.event_log import GroupInfo, LogAdmin, LogReader, LogWriter, TopicInfo, TopicSpec

READ_RECORDS = 1_000
"""The size of a reader's batches."""


class MemoryWriter(LogWriter):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._closed = False

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        with self._store.lock:
            return [self._append(record) for record in records]

    def close(self, timeout_s: float) -> None:
        self._closed = True

    def _append(self, record: OutgoingRecord) -> AppendOutcome:
        if self._closed:
            return NotStored(f"topic {record.topic}: the writer is closed")
        try:
            topic = self._store.topic(record.topic)
            place = TopicPartition(record.topic, topic.partition_for(record))
            partition = self._store.partition(place)
        except TopicMissing as missing:
            return missing
        size, limit = size_of(record), int({**TOPIC_DEFAULTS, **topic.config}["max.message.bytes"])
        if size > limit:
            return RecordTooLarge(f"topic {record.topic}: a record has at most {limit} bytes, this one has {size}")
        return Appended(*place, partition.append(record))


class MemoryReader(LogReader):
    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        with self._store.lock:
            end = min(until, self._store.partition(source).high)
        return self._batches(source, start, end)

    def _batches(self, source: TopicPartition, start: int, end: int) -> Iterator[RecordBatch]:
        while True:
            with self._store.lock:
                partition = self._store.partition(source)
                if start < partition.low:
                    raise PositionLost(f"{source}: offset {start} is below the low watermark {partition.low}")
                if start >= end:
                    return
                batch = partition.batch(source, start, min(end, start + READ_RECORDS))
            yield batch
            start = batch.next_offset


class MemoryAdmin(LogAdmin):
    def __init__(self, store: Store) -> None:
        self._store = store

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        with self._store.lock:
            found = self._store.topics
            return {
                name: TopicInfo(name, found[name].topic_id, len(found[name].partitions), replication=1)
                for name in (found if names is None else names)
                if name in found
            }

    def topic_config(self, name: str) -> Mapping[str, str]:
        with self._store.lock:
            return {**TOPIC_DEFAULTS, **self._store.topic(name).config}

    def broker_count(self) -> int:
        return 1

    def create_topic(self, spec: TopicSpec) -> bool:
        if spec.partitions < 1 or spec.replication != 1:
            raise SettingsInvalid(
                f"topic {spec.name}: needs at least 1 partition and exactly 1 replica, "
                f"asked for {spec.partitions} and {spec.replication}"
            )
        _check(spec.name, spec.config)
        with self._store.lock:
            return self._store.create(spec)

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        _check(name, config)
        with self._store.lock:
            self._store.topic(name).config.update(config)

    def add_partitions(self, name: str, total: int) -> None:
        with self._store.lock:
            partitions = self._store.topic(name).partitions
            if total <= len(partitions):
                raise SettingsInvalid(f"topic {name}: has {len(partitions)} partitions and only grows, not to {total}")
            partitions.extend(Partition() for _ in range(total - len(partitions)))

    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        with self._store.lock:
            found = {place: self._store.partition(place) for place in partitions}
            return {place: Watermarks(partition.low, partition.high) for place, partition in found.items()}

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int | None]:
        with self._store.lock:
            return {place: _first_at_or_after(self._store.partition(place), time) for place, time in times.items()}

    def group(self, group: str) -> GroupInfo:
        with self._store.lock:
            if group not in self._store.groups:
                return GroupInfo(group, "Dead", ())
            found = self._store.group(group)
            state = "Stable" if found.members else "Empty" if found.commits else "Dead"
            return GroupInfo(group, state, [member.name for member in found.members.values()])

    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        with self._store.lock:
            commits = self._store.groups[group].commits if group in self._store.groups else {}
            return {p: commits[p] for p in partitions if p in commits}

    def alter_group_offsets(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        with self._store.lock:
            for place in positions:
                self._store.partition(place)
            found = self._store.group(group)
            if found.members:
                raise GroupActive(f"group {group} has {len(found.members)} members: stop them before altering offsets")
            found.commits.update(positions)

    def close(self) -> None:
        pass


def _first_at_or_after(partition: Partition, time: int) -> int | None:
    return next((partition.low + n for n, t in enumerate(partition.timestamps) if t >= time), None)


def _check(topic: str, config: Mapping[str, str]) -> None:
    limit = config.get("max.message.bytes", "0")
    if not limit.isdecimal():
        raise SettingsInvalid(f"topic {topic}: max.message.bytes must be a whole number >= 0, is {limit}")
