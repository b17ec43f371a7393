"""Events from producers: judge, key, stamp, append; and say of each one where it is, or whether it may be anywhere.

payload -> contract -> OutgoingRecord for the raw topic ---+
               \\--> dead letter for the dlq topic ---------+-> one append -> one outcome per event, in order
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from streamlake.domain.errors import ContractViolation, RecordTooLarge, StreamLakeError, UnknownDataset
from streamlake.domain.model.contracts import Contract, raw_topic
from streamlake.domain.model.dead_letters import STAGE_API, dead_letter
from streamlake.domain.model.envelope import (
    DATASET,
    INGESTED_AT,
    INGESTION_ID,
    PRODUCER_SERVICE,
    SCHEMA_VERSION,
    ingestion_id_of_request,
    ingestion_ids_of_batch,
)
from streamlake.domain.model.records import Appended, AppendOutcome, Header, OutgoingRecord
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogWriter


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One call of a producer: what all its events share.

    `token` is the client's Idempotency-Key, or one made for it; the same token again gives the same ingestion ids.
    """

    dataset: str
    schema_version: str | None
    producer_service: str
    token: str


class Accepted(NamedTuple):
    """In the log, acknowledged."""

    ingestion_id: str
    place: Appended
    ingested_at: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not what the contract says; the original bytes are in the dead-letter topic at `letter`."""

    ingestion_id: str
    violation: ContractViolation
    letter: Appended


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """Neither: `fault` says whether the event is certainly not stored, possibly stored, or too large to be."""

    ingestion_id: str
    fault: StreamLakeError


EventOutcome = Accepted | Rejected | NotAccepted


class IngestEvents:
    """The one way in, for the HTTP API and the command line alike. Safe for several threads if its writer is."""

    def __init__(self, catalog: ContractCatalog, writer: LogWriter, *, max_event_bytes: int) -> None:
        self._catalog = catalog
        self._writer = writer
        self._max_event_bytes = max_event_bytes

    def ingest(
        self, request: IngestRequest, payload: bytes, now: datetime, done: Callable[[EventOutcome], None]
    ) -> None:
        """Ingest one event; `done` is called once, perhaps on the writer's thread. Raises `UnknownDataset`."""
        contract = self._contract(request)
        ingestion_id = ingestion_id_of_request(request.producer_service, contract.dataset, request.token)
        self._ingest(request, contract, [payload], [ingestion_id], now, lambda outcomes: done(outcomes[0]))

    def ingest_batch(
        self,
        request: IngestRequest,
        payloads: Sequence[bytes],
        now: datetime,
        done: Callable[[Sequence[EventOutcome]], None],
        first: int = 0,
    ) -> None:
        """Ingest many; one outcome each, in order. A bad event harms no other. Raises `UnknownDataset`.

        A batch may come in several calls: `first` is the index within it of the first payload of this one.
        """
        contract = self._contract(request)
        ids = ingestion_ids_of_batch(request.producer_service, contract.dataset, request.token, len(payloads), first)
        self._ingest(request, contract, payloads, ids, now, done)

    def _ingest(
        self,
        request: IngestRequest,
        contract: Contract,
        payloads: Sequence[bytes],
        ids: Sequence[str],
        now: datetime,
        done: Callable[[Sequence[EventOutcome]], None],
    ) -> None:
        ingested_at, timestamp = rfc3339(now), epoch_ms(now)
        topic, parse, record_key = raw_topic(contract.dataset), contract.parse, contract.record_key
        shared: list[Header] = [
            (DATASET, contract.dataset.encode()),
            (SCHEMA_VERSION, contract.version.encode()),
            (PRODUCER_SERVICE, request.producer_service.encode()),
            (INGESTED_AT, ingested_at.encode()),
        ]
        records: list[OutgoingRecord] = []
        violations: dict[int, ContractViolation] = {}
        too_large: dict[int, EventOutcome] = {}
        for index, (payload, ingestion_id) in enumerate(zip(payloads, ids, strict=True)):
            if len(payload) > self._max_event_bytes:
                limit = f"event: at most {self._max_event_bytes} bytes, has {len(payload)}"
                too_large[index] = NotAccepted(ingestion_id, RecordTooLarge(limit))
                continue
            headers = [*shared, (INGESTION_ID, ingestion_id.encode())]
            try:
                records.append(OutgoingRecord(topic, record_key(parse(payload)), payload, headers, timestamp))
            except ContractViolation as violation:
                violations[index] = violation
                records.append(
                    dead_letter(contract.dataset, STAGE_API, violation, None, payload, headers, now, contract=contract)
                )
                # The letter has the trace. Kept, it would tie this frame, with every record of the batch, into a cycle.
                violation.__traceback__ = None

        def settle(appended: Sequence[AppendOutcome]) -> None:
            handed_over = iter(appended)
            outcomes: list[EventOutcome] = []
            for index, ingestion_id in enumerate(ids):
                if index in too_large:
                    outcomes.append(too_large[index])
                    continue
                place = next(handed_over)
                if not isinstance(place, Appended):
                    outcomes.append(NotAccepted(ingestion_id, place))
                elif index in violations:
                    outcomes.append(Rejected(ingestion_id, violations[index], place))
                else:
                    outcomes.append(Accepted(ingestion_id, place, ingested_at))
            done(outcomes)

        if records:
            self._writer.append(records, settle)
        else:
            settle([])

    def _contract(self, request: IngestRequest) -> Contract:
        if request.schema_version is None:
            return self._catalog.newest(request.dataset)
        contract = self._catalog.find(request.dataset, request.schema_version)
        if contract is None:
            known = ", ".join(c.version for c in self._catalog.versions(request.dataset))
            raise UnknownDataset(f"{request.dataset}: schema_version must be one of {known}")
        return contract
