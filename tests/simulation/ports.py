"""The ports as one process sees them: the in-memory adapters of the product, every call an effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.simulation.effects import current, effect
from tests.simulation.facts import DATASET, MARKER, Facts
from tests.simulation.witness import Witness

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import NotStored
from streamlake.domain.model.parts import parse_part_name, raw_folder
from streamlake.domain.model.positions import Lane, Position, TopicPartition, Watermarks
from streamlake.domain.model.records import AppendOutcome, OutgoingRecord, RecordBatch
from streamlake.domain.ports.event_log import GroupInfo, LogAdmin, LogReader, LogWriter, TopicInfo, TopicSpec
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.use_cases.roll_up import ROLL_UP

_DATE_AT = len(raw_folder(DATASET)) + len("ingestion_date=")


class SimulatedStore(ObjectStore):
    """The bucket, from one process. Listings come in pages of `page`, and each page is an effect."""

    def __init__(self, store: MemoryObjectStore, witness: Witness, page: int) -> None:
        self._store = store
        self._witness = witness
        self._page = page
        self.seen: dict[str, int] = {}
        """Date -> the newest part that this process' part log has been shown there."""
        self._rolling_up: str | None = None
        """The date whose roll-up was just read: the next listing is for the roll-up; no part log learns of it."""

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        def apply() -> ObjectInfo:
            info = self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c)
            self._witness.created(info, body)
            return info

        return self._shown(effect("create", name, apply))

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        def apply() -> ObjectInfo:
            info = self._store.replace(name, body, content_type=content_type, if_generation=if_generation)
            self._witness.replaced(name)
            return info

        return effect("replace", name, apply)

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        if name.endswith(ROLL_UP) and _lands():
            self._rolling_up = name[_DATE_AT : _DATE_AT + 10]
        return effect("read", name, self._store.read, name)

    def describe(self, name: str) -> ObjectInfo:
        return self._shown(effect("describe", name, self._store.read, name)[0])

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        newest: ObjectInfo | None = None
        while True:
            found = effect("list", prefix, self._list, prefix, start)
            page = found[: self._page]
            yield from page
            for info in page:
                name = parse_part_name(info.name)
                if name and (newest is None or name > (parse_part_name(newest.name) or name)):
                    newest = info
            if len(found) <= self._page:
                break
            start = page[-1].name + "\0"
        date = prefix[_DATE_AT : _DATE_AT + 10]
        if self._rolling_up == date and _lands():
            self._rolling_up = None
        elif newest is not None:
            self._shown(newest)
        elif prefix.endswith("/part-") and _lands():
            self.seen.setdefault(date, 0)

    def _list(self, prefix: str, start: str) -> Sequence[ObjectInfo]:
        return [*self._store.list(prefix, start=start)]

    def folders(self, prefix: str) -> Sequence[str]:
        return effect("folders", prefix, self._store.folders, prefix)

    def close(self) -> None:
        """Nothing is held."""

    def _shown(self, info: ObjectInfo) -> ObjectInfo:
        name = parse_part_name(info.name)
        if name is not None and _lands():
            date = info.name[_DATE_AT : _DATE_AT + 10]
            self.seen[date] = max(self.seen.get(date, 0), name.number)
        return info


def _lands() -> bool:
    """The start rule lists parts too, on the poll thread, and does not tell the part logs."""
    return current().name == "land"


class SimulatedWriter(LogWriter):
    """Dead letters, from one process."""

    def __init__(self, log: MemoryEventLog, witness: Witness, seen: Mapping[str, int]) -> None:
        self._writer = log.writer()
        self._witness = witness
        self._seen = seen

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        if not records:
            return []
        for record in records:
            self._witness.letter_asked(self._seen, dict(record.headers))
        return effect("append", f"{len(records)} letters", self._apply, records)

    def close(self, timeout_s: float) -> None:
        """Nothing is held."""

    def _apply(self, records: Sequence[OutgoingRecord], stored: int | None = None) -> Sequence[AppendOutcome]:
        """Append the first so many, or all."""
        taken = records[:stored]
        outcomes = list(self._writer.append_and_wait(taken))
        for record in taken:
            self._witness.lettered(dict(record.headers), record.value)
        return outcomes + [NotStored("simulated")] * (len(records) - len(taken))


class SimulatedAdmin(LogAdmin):
    """What the consumer asks of topics."""

    def __init__(self, log: MemoryEventLog) -> None:
        self._admin = log.admin()

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        return effect("topics", ",".join(names or ()), self._admin.topics, names)

    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        return effect("watermarks", "", self._admin.watermarks, partitions)

    def topic_config(self, name: str) -> Mapping[str, str]:
        return effect("topic_config", name, self._admin.topic_config, name)

    def broker_count(self) -> int:
        return 1

    def create_topic(self, spec: TopicSpec) -> bool:
        raise NotImplementedError("landing creates no topics")

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        raise NotImplementedError("landing configures no topics")

    def add_partitions(self, name: str, total: int) -> None:
        raise NotImplementedError("landing adds no partitions")

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int | None]:
        raise NotImplementedError("landing asks for no times")

    def group(self, group: str) -> GroupInfo:
        raise NotImplementedError("landing asks for no groups")

    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        return effect("group_offsets", group, self._admin.group_offsets, group, partitions)

    def alter_group_offsets(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        raise NotImplementedError("landing alters no groups")

    def close(self) -> None:
        """Nothing is held."""


class VisibleReader(LogReader):
    """The log in memory, without the markers that no reader ever sees."""

    def __init__(self, log: MemoryEventLog, facts: Facts) -> None:
        self._reader = log.reader()
        self._admin = log.admin()
        self._facts = facts

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        batches = self._reader.read(source, start, until)
        info = self._admin.topics([source.topic]).get(source.topic)
        facts = self._facts.lanes.get(Lane(info.topic_id if info else "", source.partition))
        for batch in batches:
            wanted = [at for at, offset in enumerate(batch.offsets) if not facts or facts.kinds[offset] != MARKER]
            if wanted:
                yield picked(batch, wanted)


def picked(batch: RecordBatch, wanted: Sequence[int]) -> RecordBatch:
    """The records at these indexes."""
    if len(wanted) == len(batch):
        return batch
    return RecordBatch(
        batch.source,
        [batch.offsets[at] for at in wanted],
        [batch.timestamps[at] for at in wanted],
        [batch.keys[at] for at in wanted],
        [batch.values[at] for at in wanted],
        [batch.headers[at] for at in wanted],
    )


class SimulatedReader(LogReader):
    """Bounded reads: of dead letters and rows by the start rule, of the raw topic by a replay."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        return iter(effect("read log", str(source), lambda: list(self._reader.read(source, start, until))))
