"""What domain tests are built from: a contract, a catalog, records, a log and a store that fail on command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.adapters.part_format.ndjson import GzipJsonPartFormat, JsonPartFormat
from streamlake.domain.errors import ContractViolation, FieldError, UnknownDataset
from streamlake.domain.model.contracts import Contract, dlq_topic, raw_topic
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import Header, RecordBatch
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.snapshots import LandedPart
from streamlake.domain.model.times import DAY_MS, epoch_ms
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import TopicSpec
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


def land(log: PartLog, start: int, end: int, replay_id: str | None = None) -> list[LandedPart]:
    """Land the rows of `[start, end)` of partition 0 and claim just them; returns the parts made."""
    parts: list[LandedPart] = []
    log.land([rows(range(start, end))], claim((start, end)), parts.append, replay_id)
    return parts


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


def put_part(store: MemoryObjectStore, name: str, metadata: Mapping[str, str], body: bytes = b"{}\n") -> ObjectInfo:
    """An object made by hand."""
    return store.create(name, body, content_type="application/x-ndjson", metadata=metadata)


def without(store: MemoryObjectStore, *gone: str) -> MemoryObjectStore:
    """The same bucket, as it is after somebody deleted objects of the prefix."""
    copy = MemoryObjectStore()
    for info in store.list(""):
        if info.name.removeprefix(PREFIX) not in gone:
            put_part(copy, info.name, info.metadata, store.read(info.name)[1])
    return copy
