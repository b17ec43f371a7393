"""Every letter of a topic, streamed; and one pass that says which there are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.domain.worlds import DATASET, DLQ, L0, L1, NOW, RAW, T0, TOPIC_ID, Catalog, open_log

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.errors import ContractViolation, FieldError, TopicMissing
from streamlake.domain.model.dead_letters import STAGE_API, STAGE_CONSUMER, LetterSource, dead_letter
from streamlake.domain.model.letters import (
    DISCARDED,
    REDRIVEN,
    DeadLetter,
    LetterId,
    Resolution,
    Stray,
    resolution_record,
)
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.model.records import Appended, OutgoingRecord
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.ingest_events import IngestEvents, IngestRequest

FAULT = ContractViolation("orders.v1", (FieldError("/id", "required", "is required"),))
DLQ_ID = "memory-2"


def consumer_letter(
    offset: int, partition: int = 0, replay_id: str | None = None, dlq_partition: int = 0
) -> OutgoingRecord:
    source = LetterSource(RAW, TOPIC_ID, partition, offset, T0)
    made = dead_letter(DATASET, STAGE_CONSUMER, FAULT, None, b"v", [], NOW, source=source, replay_id=replay_id)
    return made._replace(partition=dlq_partition)


def api_letter(dlq_partition: int = 0) -> OutgoingRecord:
    return dead_letter(DATASET, STAGE_API, FAULT, None, b"v", [], NOW)._replace(partition=dlq_partition)


def resolved(letter: LetterId, outcome: str) -> OutgoingRecord:
    return resolution_record(DATASET, Resolution(letter, outcome, "ann", "now", "why"), 0, T0)


def log_with(records: Sequence[OutgoingRecord]) -> MemoryEventLog:
    log = open_log()
    log.writer().append_and_wait(records)
    return log


def letters_of(log: MemoryEventLog) -> DeadLetters:
    return DeadLetters(DATASET, log.admin(), log.reader())


def test_one_pass_knows_every_kind_apart() -> None:
    records = [
        consumer_letter(5),
        consumer_letter(6, partition=1),
        api_letter(),
        api_letter(dlq_partition=1),
        consumer_letter(5, replay_id="r1"),
        resolved(LetterId(TOPIC_ID, 0, 5), REDRIVEN),
        resolved(LetterId(DLQ_ID, 0, 2), DISCARDED),
        OutgoingRecord(DLQ, None, b"?", (), T0, 1),
    ]
    ledger = letters_of(log_with(records)).ledger()
    assert ledger.consumer == {L0: Offsets([(5, 6)]), L1: Offsets([(6, 7)])}
    assert ledger.api == {Lane(DLQ_ID, 0): Offsets([(2, 3)]), Lane(DLQ_ID, 1): Offsets([(0, 1)])}
    assert ledger.replays == {"r1": {L0: Offsets([(5, 6)])}}
    assert ledger.redriven == {L0: Offsets([(5, 6)])}
    assert ledger.discarded == {Lane(DLQ_ID, 0): Offsets([(2, 3)])}
    assert ledger.strays == 1
    assert ledger.resolved(LetterId(TOPIC_ID, 0, 5))
    assert ledger.resolved(LetterId(DLQ_ID, 0, 2))
    assert not ledger.resolved(LetterId(TOPIC_ID, 1, 6))


def test_letters_sent_again_after_a_crash_are_one_also_across_partitions() -> None:
    offsets = [3, 4, 9, 3, 4, 9, 10]
    ledger = letters_of(log_with([consumer_letter(o, dlq_partition=i % 2) for i, o in enumerate(offsets)])).ledger()
    assert ledger.consumer == {L0: Offsets([(3, 5), (9, 11)])}


def test_entries_come_as_they_were_written_with_how_far_the_reading_is() -> None:
    log = log_with([consumer_letter(5), resolved(LetterId(TOPIC_ID, 0, 5), REDRIVEN), api_letter(dlq_partition=1)])
    log.writer().append_and_wait([OutgoingRecord(DLQ, None, b"?", (), T0, 1)])
    told: list[tuple[int, int]] = []
    found = list(letters_of(log).entries(lambda done, total: told.append((done, total))))
    assert [type(entry) for entry in found] == [DeadLetter, Resolution, DeadLetter, Stray]
    assert told[0] == (0, 4)
    assert told[-1] == (4, 4)
    assert told == sorted(told)


def test_a_letter_of_the_api_is_where_the_producer_was_told_it_is() -> None:
    log = open_log()
    outcomes: list[object] = []
    ingest = IngestEvents(Catalog(), log.writer(), max_event_bytes=1000)
    ingest.ingest(IngestRequest(DATASET, None, "shop", "t"), b"[]", NOW, outcomes.append)
    [found] = [entry for entry in letters_of(log).entries() if isinstance(entry, DeadLetter)]
    place = outcomes[0].letter  # type: ignore[attr-defined]  # a rejection, which says so
    assert isinstance(place, Appended)
    assert found.id == found.place == LetterId(DLQ_ID, place.partition, place.offset)


def test_a_topic_that_is_not_there_is_said_so() -> None:
    with pytest.raises(TopicMissing, match="provision"):
        letters_of(open_log(dlq=False)).ledger()
