"""What domain tests are built from: a contract, a catalog, records, a log and a store that fail on command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.adapters.part_format.ndjson import GzipJsonPartFormat, JsonPartFormat
from streamlake.domain.errors import ContractViolation, FieldError, StoreUnavailable, UnknownDataset
from streamlake.domain.model.contracts import Contract, dlq_topic, raw_topic
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import AppendOutcome, Header, OutgoingRecord, RecordBatch
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.times import DAY_MS, epoch_ms
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogWriter, TopicSpec
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.part_log import PartLog, PartLogs

T = TypeVar("T")

DATASET = "orders"
RAW, DLQ = raw_topic(DATASET), dlq_topic(DATASET)
P0, P1 = TopicPartition(RAW, 0), TopicPartition(RAW, 1)
TOPIC_ID = "memory-1"
"""The id of the first topic of a `MemoryEventLog`."""
L0, L1 = Lane(TOPIC_ID, 0), Lane(TOPIC_ID, 1)

NOW = datetime(2026, 11, 21, 10, 33, tzinfo=UTC)
T0 = epoch_ms(NOW)
DATE, NEXT_DATE = "2026-11-21", "2026-11-22"
DAY = T0 // DAY_MS
PREFIX = f"raw/dataset={DATASET}/ingestion_date={DATE}/"
FORMATS: Mapping[str, PartFormat] = {form.name: form for form in (JsonPartFormat(), GzipJsonPartFormat())}

GOOD = b'{"id":"a"}'
BAD = b'{"id":'


def contract(major: int = 1, dataset: str = DATASET, **changes: Any) -> Contract:
    """A contract that asks for JSON objects with an `id`."""

    def parse(payload: bytes) -> Mapping[str, object]:
        try:
            document = json.loads(payload)
        except ValueError:
            raise ContractViolation(name, (FieldError("", "json", "must be JSON"),)) from None
        if not isinstance(document, dict) or "id" not in document:
            raise ContractViolation(name, (FieldError("/id", "required", "is required"),))
        return document

    name = f"{dataset}.v{major}"
    told: dict[str, Any] = {"description": "", "key": "id", "sha256": "ab" * 32, "json_schema": {}, "example": {}}
    return Contract(dataset=dataset, major=major, parse=parse, **(told | changes))


class Catalog(ContractCatalog):
    """Contracts by hand."""

    def __init__(self, *contracts: Contract) -> None:
        self._contracts = contracts or (contract(),)

    def datasets(self) -> Sequence[str]:
        return sorted({each.dataset for each in self._contracts})

    def versions(self, dataset: str) -> Sequence[Contract]:
        found = sorted((each for each in self._contracts if each.dataset == dataset), key=lambda each: each.major)
        if not found:
            raise UnknownDataset(f"{dataset}: no contract")
        return found

    def newest(self, dataset: str) -> Contract:
        return self.versions(dataset)[-1]

    def find(self, dataset: str, version: str) -> Contract | None:
        return next((each for each in self.versions(dataset) if each.version == version), None)


def batch(
    offsets: Iterable[int],
    source: TopicPartition = P0,
    *,
    values: Mapping[int, bytes | None] | None = None,
    timestamps: Mapping[int, int] | None = None,
    headers: Sequence[Header] = (),
) -> RecordBatch:
    """Good records at these offsets, except where told otherwise."""
    at = list(offsets)
    return RecordBatch(
        source,
        at,
        [(timestamps or {}).get(offset, T0 + offset) for offset in at],
        [str(offset).encode() for offset in at],
        [(values or {}).get(offset, GOOD) for offset in at],
        [headers] * len(at),
    )


def rows(
    offsets: Iterable[int], source: TopicPartition = P0, *, payload: bytes = GOOD, topic_id: str = TOPIC_ID
) -> Rows:
    """Rows as judging makes them."""
    made = Rows(source, topic_id)
    for offset in offsets:
        made.offsets.append(offset)
        made.timestamps.append(T0 + offset)
        made.keys.append(str(offset))
        made.schema_versions.append("v1")
        made.ingestion_ids.append(f"id-{offset}")
        made.producer_services.append(None)
        made.ingested_ats.append("2026-11-21T10:33:00.000000Z")
        made.headers.append(())
        made.payloads.append(payload)
    return made


def claim(*intervals: tuple[int, int], lane: Lane = L0) -> dict[Lane, Offsets]:
    """Claims of one lane."""
    return {lane: Offsets(intervals)}


def part_log(store: ObjectStore, date: str = DATE, *, form: str = "json", max_part_bytes: int = 10**9) -> PartLog:
    """A part log as a fresh process has it."""
    return PartLog(store, FORMATS, DATASET, date, wanted_format=form, writer="test", max_part_bytes=max_part_bytes)


def part_logs(store: ObjectStore, *, max_part_bytes: int = 10**9) -> PartLogs:
    """The part logs of a fresh process."""
    return PartLogs(lambda date: part_log(store, date, max_part_bytes=max_part_bytes))


def open_log(*, partitions: int = 2, dlq: bool = True, dlq_bytes: int = 10**7) -> MemoryEventLog:
    """A log with the topics of the dataset, empty."""
    log = MemoryEventLog(ManualClock())
    admin = log.admin()
    admin.create_topic(TopicSpec(RAW, partitions, 1))
    if dlq:
        admin.create_topic(TopicSpec(DLQ, partitions, 1, {"max.message.bytes": str(dlq_bytes)}))
    return log


def letters_in(log: MemoryEventLog) -> list[tuple[bytes | None, dict[str, bytes | None]]]:
    """Every dead letter: its value, and its headers."""
    found = []
    for partition in range(log.admin().topics([DLQ])[DLQ].partitions):
        for each in log.reader().read(TopicPartition(DLQ, partition), 0, 10**9):
            found += [(value, dict(headers)) for value, headers in zip(each.values, each.headers, strict=True)]
    return found


def lettered_offsets(log: MemoryEventLog) -> list[tuple[int, int]]:
    """The (partition, offset) that dead letters name, ascending, each as often as it was sent."""
    return sorted(
        (int(told["dlq_source_partition"] or b""), int(told["dlq_source_offset"] or b"")) for _, told in letters_in(log)
    )


class Fault(Enum):
    """How a store call can fail."""

    BEFORE = "before anything happened"
    AFTER = "after it was applied: the reply is lost"
    LATE = "now; it is applied later, when nobody expects it"


class FaultyStore(ObjectStore):
    """A store of which the n-th call (from 1) fails as the script says; `hook` runs ahead of every call."""

    def __init__(self, store: ObjectStore, script: Mapping[int, Fault] | None = None) -> None:
        self.script = dict(script or {})
        self.hook: Callable[[str, str], None] = lambda call, name: None
        self.calls: list[tuple[str, str]] = []
        self._store = store
        self._delayed: list[Callable[[], object]] = []

    @property
    def writes(self) -> list[str]:
        """The names that were created or replaced, attempts included."""
        return [name for call, name in self.calls if call in ("create", "replace")]

    def deliver(self) -> None:
        """What was late arrives now."""
        while self._delayed:
            try:
                self._delayed.pop(0)()
            except Exception as nobody_listens:  # noqa: BLE001 - the caller is long gone
                del nobody_listens

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        return self._call(
            "create",
            name,
            lambda: self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c),
        )

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        return self._call(
            "replace",
            name,
            lambda: self._store.replace(name, body, content_type=content_type, if_generation=if_generation),
        )

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        return self._call("read", name, lambda: self._store.read(name))

    def describe(self, name: str) -> ObjectInfo:
        return self._call("describe", name, lambda: self._store.describe(name))

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return iter(self._call("list", prefix, lambda: [*self._store.list(prefix, start=start)]))

    def folders(self, prefix: str) -> Sequence[str]:
        return self._call("folders", prefix, lambda: self._store.folders(prefix))

    def close(self) -> None:
        self._store.close()

    def _call(self, call: str, name: str, apply: Callable[[], T]) -> T:
        self.calls.append((call, name))
        self.hook(call, name)
        fault = self.script.pop(len(self.calls), None)
        lost = StoreUnavailable(f"{call} {name}: {fault}")
        if fault is Fault.LATE:
            self._delayed.append(apply)
        if fault in (Fault.BEFORE, Fault.LATE):
            raise lost
        answer = apply()
        if fault is Fault.AFTER:
            raise lost
        return answer


class FaultyWriter(LogWriter):
    """A writer whose n-th record (from 1) has the outcome of the script; with `applied` it is stored all the same."""

    def __init__(self, writer: LogWriter, script: Mapping[int, AppendOutcome] | None = None) -> None:
        self.script = dict(script or {})
        self.applied = False
        self.sent: list[OutgoingRecord] = []
        self._writer = writer

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        return [self._append(record) for record in records]

    def close(self, timeout_s: float) -> None:
        self._writer.close(timeout_s)

    def _append(self, record: OutgoingRecord) -> AppendOutcome:
        self.sent.append(record)
        scripted = self.script.pop(len(self.sent), None)
        if scripted is not None and not self.applied:
            return scripted
        [outcome] = self._writer.append_and_wait([record])
        return scripted or outcome


def put_part(store: MemoryObjectStore, name: str, metadata: Mapping[str, str], body: bytes = b"{}\n") -> ObjectInfo:
    """An object made by hand."""
    return store.create(name, body, content_type="application/x-ndjson", metadata=metadata)
