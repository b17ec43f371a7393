"""Every letter of a topic, streamed; and one pass that says which there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    to = LetterId(TOPIC_ID, 0, 99) if outcome == REDRIVEN else None
    return resolution_record(DATASET, Resolution(letter, outcome, "ann", "now", "why", to), 0, T0)


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
    landed = {L1: Offsets([(6, 7)]), Lane(DLQ_ID, 1): Offsets()}
    assert ledger.standing(LetterId(TOPIC_ID, 0, 5), landed) == "redriven"
    assert ledger.standing(LetterId(DLQ_ID, 0, 2), landed) == "discarded"
    assert ledger.standing(LetterId(TOPIC_ID, 1, 6), landed) == "void"
    assert ledger.standing(LetterId(TOPIC_ID, 1, 6), {}) == "open"
    assert ledger.standing(LetterId(DLQ_ID, 1, 0), landed) == "open"
    assert ledger.standing(LetterId(TOPIC_ID, 0, 5, "r1"), landed) == "replay"


def test_letters_sent_again_after_a_crash_are_one_also_across_partitions() -> None:
    offsets = [3, 4, 9, 3, 4, 9, 10]
    ledger = letters_of(log_with([consumer_letter(o, dlq_partition=i % 2) for i, o in enumerate(offsets)])).ledger()
    assert ledger.consumer == {L0: Offsets([(3, 5), (9, 11)])}


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), max_size=25))
def test_each_letter_is_given_once_however_often_and_wherever_it_was_sent(sent: list[tuple[int, int]]) -> None:
    letters = letters_of(log_with([consumer_letter(offset, dlq_partition=at) for offset, at in sent]))
    ledger = letters.ledger()
    found = [letter.id.offset for letter, _ in letters.letters(ledger, {})]
    assert sorted(found) == sorted({offset for offset, _ in sent})
    times = Counter(offset for offset, _ in sent)
    assert ledger.repeated.get(L0, Offsets()) == Offsets.of(sorted(o for o, count in times.items() if count > 1))


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
