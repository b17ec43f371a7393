"""Is a record fit for the raw zone? If so, what its envelope says; if not, why.

`run` is the fast way, for records that carry our five headers and no other: columns in, columns out, one loop. `judge`
is the full way, for any record. They agree wherever `run` does not stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from operator import itemgetter

from streamlake.domain.errors import ContractViolation, DataFault, RecordRefused
from streamlake.domain.model.contracts import Contract, PayloadParser
from streamlake.domain.model.envelope import (
    AS_WE_WRITE_THEM,
    INGESTED_AT,
    INGESTION_ID,
    PRODUCER_SERVICE,
    SCHEMA_VERSION,
    envelope_of,
    ingestion_id_of_record,
)
from streamlake.domain.model.records import NO_TIMESTAMP, Header, RecordBatch
from streamlake.domain.model.rows import Rows, longs
from streamlake.domain.model.snapshots import Row
from streamlake.domain.model.times import DAY_MS, LAST_MS, rfc3339_of_ms
from streamlake.domain.ports.contract_catalog import ContractCatalog

_Origin = tuple[bytes | None, bytes | None, bytes | None]
_MAX_KNOWN = 1_000
"""Services come and go; more than these at once are learnt anew."""

_NO_HEADERS: Sequence[Header] = ()

_ORDERS = {
    names: itemgetter(*(names.index(name) for name in AS_WE_WRITE_THEM)) for names in permutations(AS_WE_WRITE_THEM)
}
"""For each order that the five can come in, what brings their values into ours."""


class JudgeRecords:
    """Judges the records of one dataset by the contract that each names, or by the newest."""

    def __init__(self, dataset: str, catalog: ContractCatalog) -> None:
        self._dataset = dataset
        self._contracts = {contract.version: contract for contract in catalog.versions(dataset)}
        self._newest = catalog.newest(dataset)
        self._known: dict[_Origin, tuple[str, str, PayloadParser]] = {}

    def run(self, batch: RecordBatch, topic_id: str, start: int, stop: int) -> Rows:
        """The rows of the records `[start, ...)` of a batch, up to `stop` or the first one that needs `judge`."""
        rows = Rows(batch.source, topic_id)
        names = tuple(name for name, _ in batch.headers[start])
        in_our_order = _ORDERS.get(names)
        if in_our_order is None:
            return rows
        known = self._known
        keys, payloads, versions = rows.keys, rows.payloads, rows.schema_versions
        ids, services, ats = rows.ingestion_ids, rows.producer_services, rows.ingested_ats
        try:
            for headers, key, value in zip(
                batch.headers[start:stop], batch.keys[start:stop], batch.values[start:stop], strict=True
            ):
                (n0, v0), (n1, v1), (n2, v2), (n3, v3), (n4, v4) = headers
                if (n0, n1, n2, n3, n4) != names:
                    break
                dataset, version, service, ingested_at, ingestion_id = in_our_order((v0, v1, v2, v3, v4))
                if not (ingested_at and ingestion_id and value):
                    break
                origin = (dataset, version, service)
                told = known.get(origin) or self._learn(origin)
                told[2](value)
                row_key = None if key is None else key.decode()
                at, identity = ingested_at.decode(), ingestion_id.decode()
                keys.append(row_key)
                payloads.append(value)
                versions.append(told[0])
                services.append(told[1])
                ats.append(at)
                ids.append(identity)
        except (DataFault, ValueError):
            pass  # whatever it is, `judge` finds it again and says so
        end = start + len(payloads)
        rows.offsets = longs(batch.offsets[start:end])
        rows.timestamps = longs(batch.timestamps[start:end])
        rows.headers = [_NO_HEADERS] * len(payloads)
        return rows

    def _learn(self, origin: _Origin) -> tuple[str, str, PayloadParser]:
        """What these three headers say. Raises `RecordRefused` where `judge` has to look."""
        dataset, version, service = ((value or b"").decode() for value in origin)
        if dataset != self._dataset or not service:
            raise RecordRefused("unusual", "headers: not as we write them")
        contract = self._contract(version)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        told = self._known[origin] = contract.version, service, contract.parse
        return told

    def judge(
        self,
        topic_id: str,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
    ) -> Row:
        """The row of a good record; raises `DataFault` for a bad one, and nothing else, whatever its bytes."""
        day = day_of(timestamp)
        if day is None:
            raise _no_day(timestamp)
        fields, others = envelope_of(headers, self._dataset)
        contract = self._contract(fields.get(SCHEMA_VERSION))
        if value is None:
            raise RecordRefused("null_value", "value: must be a JSON object, is null")
        contract.parse(value)
        return Row(
            day,
            _text(key),
            contract.version,
            fields.get(INGESTION_ID) or str(ingestion_id_of_record(topic_id, partition, offset)),
            fields.get(PRODUCER_SERVICE),
            fields.get(INGESTED_AT) or rfc3339_of_ms(timestamp),
            others,
            value,
        )

    def contract_of(self, fault: DataFault) -> Contract | None:
        """The contract that a violation broke."""
        if not isinstance(fault, ContractViolation):
            return None
        return next((contract for contract in self._contracts.values() if contract.name == fault.contract), None)

    def _contract(self, version: str | None) -> Contract:
        if version is None:
            return self._newest
        try:
            return self._contracts[version]
        except KeyError:
            known = ", ".join(self._contracts)
            raise RecordRefused("unknown_schema_version", f"header {SCHEMA_VERSION}: must be one of {known}") from None


def day_of(timestamp: int) -> int | None:
    """The UTC day of a record's timestamp, counted from the epoch; None where no ISO date can name it."""
    return timestamp // DAY_MS if 0 <= timestamp < LAST_MS else None


def _no_day(timestamp: int) -> RecordRefused:
    if timestamp == NO_TIMESTAMP:
        return RecordRefused("no_timestamp", "timestamp: a record must have one, its ingestion date rests on it")
    return RecordRefused("timestamp_out_of_range", f"timestamp: must be in 1970 to 9999, is {timestamp} ms")


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        raise RecordRefused("key_not_utf8", "key: must be UTF-8") from None
