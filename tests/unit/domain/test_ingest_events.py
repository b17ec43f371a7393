"""The way in: every event has one outcome, in order, and it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.unit.domain.faults import FaultyWriter
from tests.unit.domain.worlds import BAD, DATASET, DLQ, GOOD, NOW, P0, RAW, T0, Catalog, contract, letters_in, open_log

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.errors import (
    NotStored,
    OutcomeUnknown,
    RecordTooLarge,
    TopicMissing,
    UnknownDataset,
    WriterFailed,
)
from streamlake.domain.model.envelope import ingestion_ids_of_batch
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Appended, AppendOutcome, RecordBatch
from streamlake.domain.use_cases.ingest_events import (
    Accepted,
    EventOutcome,
    IngestEvents,
    IngestRequest,
    NotAccepted,
    Rejected,
)

REQUEST = IngestRequest(DATASET, None, "shop", "token")
LIMIT = 1000


class World:
    """A log, and the way into it."""

    def __init__(self, script: Mapping[int, AppendOutcome] | None = None) -> None:
        self.log: MemoryEventLog = open_log(partitions=1)
        self.writer = FaultyWriter(self.log.writer(), script)
        catalog = Catalog(contract(1), contract(2))
        self.events = IngestEvents(catalog, self.writer, max_event_bytes=LIMIT)

    def batch(self, *payloads: bytes, request: IngestRequest = REQUEST) -> Sequence[EventOutcome]:
        told: list[Sequence[EventOutcome]] = []
        self.events.ingest_batch(request, payloads, NOW, told.append)
        [outcomes] = told
        return outcomes

    def one(self, payload: bytes, request: IngestRequest = REQUEST) -> EventOutcome:
        told: list[EventOutcome] = []
        self.events.ingest(request, payload, NOW, told.append)
        [outcome] = told
        return outcome

    def raw(self) -> RecordBatch:
        [batch] = self.log.reader().read(P0, 0, 100)
        return batch


def test_a_good_event_is_in_the_log_before_it_is_accepted() -> None:
    world = World()
    outcome = world.one(b' {"id": "k-1"} ')
    batch = world.raw()
    assert isinstance(outcome, Accepted)
    assert outcome.place == Appended(RAW, 0, 0)
    assert (batch.keys[0], batch.values[0], batch.timestamps[0]) == (b"k-1", b' {"id": "k-1"} ', T0)
    assert dict(batch.headers[0]) == {
        "dataset": b"orders",
        "schema_version": b"v2",
        "producer_service": b"shop",
        "ingested_at": b"2026-11-21T10:33:00.000000Z",
        "ingestion_id": outcome.ingestion_id.encode(),
    }
    assert outcome.ingested_at == "2026-11-21T10:33:00.000000Z"


def test_a_rejected_event_is_a_letter_with_the_same_bytes() -> None:
    world = World()
    outcome = world.one(BAD)
    [(value, told)] = letters_in(world.log)
    assert isinstance(outcome, Rejected)
    assert (outcome.letter.topic, outcome.letter.offset) == (DLQ, 0)
    assert outcome.violation.errors[0].rule == "json"
    assert value == BAD
    assert (told["dlq_stage"], told["dlq_contract"]) == (b"api", b"v2 sha256:" + b"ab" * 32)
    assert told["ingestion_id"] == outcome.ingestion_id.encode()
    assert "dlq_source_topic" not in told


def test_outcomes_are_in_the_order_of_the_events() -> None:
    world = World({3: NotStored("full")})
    large = b'"' + b"x" * LIMIT + b'"'
    outcomes = world.batch(GOOD, BAD, large, GOOD, GOOD)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Accepted, Rejected, NotAccepted, NotAccepted, Accepted]
    ids = ingestion_ids_of_batch("shop", DATASET, "token", 5)
    assert [outcome.ingestion_id for outcome in outcomes] == ids
    assert [outcome.place.offset for outcome in outcomes if isinstance(outcome, Accepted)] == [0, 1]


def test_events_of_a_batch_keep_their_order_in_the_log() -> None:
    world = World()
    payloads = [f'{{"id":"k","n":{n}}}'.encode() for n in range(9)]
    world.batch(*payloads)
    assert list(world.raw().values) == payloads


def test_a_request_retried_has_the_same_ids() -> None:
    world = World()
    first, second = world.batch(GOOD, GOOD), world.batch(GOOD, GOOD)
    assert [outcome.ingestion_id for outcome in first] == [outcome.ingestion_id for outcome in second]
    assert len({outcome.ingestion_id for outcome in first}) == 2


def test_a_single_event_is_not_the_first_of_a_batch() -> None:
    world = World()
    assert world.one(GOOD).ingestion_id != world.batch(GOOD)[0].ingestion_id


@pytest.mark.parametrize(
    "fault",
    [NotStored("x"), OutcomeUnknown("x"), RecordTooLarge("x"), WriterFailed("x"), TopicMissing("x")],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("payload", [GOOD, BAD])
def test_an_append_that_failed_says_so_for_the_event_or_its_letter(fault: AppendOutcome, payload: bytes) -> None:
    outcome = World({1: fault}).one(payload)
    assert isinstance(outcome, NotAccepted)
    assert outcome.fault is fault


@pytest.mark.parametrize(("size", "kind"), [(LIMIT, Accepted), (LIMIT + 1, NotAccepted)])
def test_an_event_may_have_exactly_as_many_bytes_as_the_limit(size: int, kind: type) -> None:
    world = World()
    payload = b'{"id":"%s"}' % (b"x" * (size - 9))
    outcome = world.one(payload)
    assert len(payload) == size
    assert type(outcome) is kind
    if isinstance(outcome, NotAccepted):
        assert isinstance(outcome.fault, RecordTooLarge)
        assert world.writer.sent == []


def test_no_event_is_an_outcome_too() -> None:
    assert World().batch() == []


def test_the_version_asked_for_judges() -> None:
    world = World()
    world.one(GOOD, IngestRequest(DATASET, "v1", "shop", "token"))
    assert dict(world.raw().headers[0])["schema_version"] == b"v1"


@pytest.mark.parametrize(
    "request_",
    [IngestRequest(DATASET, "v9", "s", "t"), IngestRequest("nowhere", None, "s", "t")],
    ids=["version", "set"],
)
def test_an_unknown_dataset_or_version_is_refused_before_anything_happens(request_: IngestRequest) -> None:
    world = World()
    with pytest.raises(UnknownDataset):
        world.batch(GOOD, request=request_)
    assert world.writer.sent == []


def test_a_rejected_event_tells_where_in_its_letter_and_keeps_no_frame_alive() -> None:
    """Frames hold the whole batch, and the batch holds the violations: a cycle, which only the collector would end."""
    world = World()
    outcome = world.one(BAD)
    [(_, told)] = letters_in(world.log)
    assert isinstance(outcome, Rejected)
    assert outcome.violation.__traceback__ is None
    assert b"ingest_events.py" in (told["dlq_exception_trace"] or b"")


def test_a_key_that_is_no_key_is_a_violation() -> None:
    outcome = World().one(b'{"id":true}')
    assert isinstance(outcome, Rejected)
    assert outcome.violation.errors[0].pointer == "/id"


def test_letters_of_the_api_go_to_the_datasets_own_topic() -> None:
    world = World()
    world.batch(BAD, BAD)
    [batch] = world.log.reader().read(TopicPartition(DLQ, 0), 0, 9)
    assert list(batch.values) == [BAD, BAD]
    assert list(batch.keys) == [None, None]
