"""What was dead-lettered is read back whole, and nothing a client sends can pass for what we say."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.worlds import DATASET, DLQ, NOW, RAW, T0, contract

from streamlake.domain.errors import ContractViolation, DataFault, FieldError, RecordRefused, RecordTooLarge
from streamlake.domain.model.dead_letters import (
    STAGE_API,
    STAGE_CONSUMER,
    TRUNCATED_BYTES,
    LetterSource,
    attempts_of,
    dead_letter,
    escape,
    truncated,
    unescape,
)
from streamlake.domain.model.envelope import ingestion_id_of_record
from streamlake.domain.model.letters import (
    DISCARDED,
    REDRIVEN,
    DeadLetter,
    Entry,
    LetterId,
    Resolution,
    Stray,
    read_entry,
    read_identity,
    resolution_record,
)
from streamlake.domain.model.records import Header, OutgoingRecord

PLACE = LetterId("dlq-id", 1, 7)
SOURCE = LetterSource(RAW, "raw-id", 3, 42, 1_700_000_000_000)
FAULT = ContractViolation("orders.v1", (FieldError("/id", "required", "is required"),))
FAULTS: list[DataFault] = [
    FAULT,
    ContractViolation("orders.v1", (FieldError("", "json", "must be JSON"),)),
    *(
        RecordRefused(rule, "x")
        for rule in (
            "no_timestamp",
            "timestamp_out_of_range",
            "unknown_schema_version",
            "null_value",
            "key_not_utf8",
            "header_not_utf8",
        )
    ),
    RecordTooLarge("x"),
]
NAMES = st.lists(st.sampled_from(["orig_", "dlq_", "resolution", "stage", "x", "source_offset", "dataset"]), max_size=5)
HEADERS = st.lists(st.tuples(NAMES.map("".join), st.none() | st.binary(max_size=8)), max_size=8)
BYTES = st.none() | st.binary()


def read(made: OutgoingRecord, place: LetterId = PLACE) -> Entry:
    return read_entry(place, made.timestamp, made.key, made.value, made.headers)


def letter(made: OutgoingRecord) -> DeadLetter:
    found = read(made)
    assert isinstance(found, DeadLetter)
    return found


def written(
    fault: DataFault = FAULT,
    headers: list[Header] | None = None,
    stage: str = STAGE_CONSUMER,
    source: LetterSource | None = SOURCE,
    replay_id: str | None = None,
) -> OutgoingRecord:
    return dead_letter(
        DATASET, stage, fault, b"k", b"v", headers or [], NOW, contract=contract(), source=source, replay_id=replay_id
    )


@given(BYTES, BYTES, HEADERS, st.sampled_from(FAULTS), st.sampled_from([None, SOURCE]))
def test_the_original_is_rebuilt_byte_for_byte_whatever_its_headers(
    key: bytes | None, value: bytes | None, headers: list[Header], fault: DataFault, source: LetterSource | None
) -> None:
    stage = STAGE_CONSUMER if source else STAGE_API
    found = letter(dead_letter(DATASET, stage, fault, key, value, headers, NOW, source=source))
    assert (found.key, found.value, found.headers, found.source) == (key, value, headers, source)


@given(NAMES.map("".join))
def test_no_name_of_a_client_reaches_the_topic_as_one_of_ours_and_each_comes_back(name: str) -> None:
    assert not escape(name).startswith("dlq_")
    assert unescape(escape(name)) == name


@given(HEADERS)
def test_hostile_headers_neither_resolve_a_letter_nor_make_it_another(headers: list[Header]) -> None:
    made = written(headers=headers)
    assert read_identity(PLACE, b'{"v":1}', made.headers) == LetterId("raw-id", 3, 42)
    made = written(headers=headers, stage=STAGE_API, source=None)
    assert read_identity(PLACE, b'{"v":1}', made.headers) is PLACE


def test_a_letter_tells_all_that_was_told() -> None:
    found = letter(written(headers=[("schema_version", b"v1"), ("ingestion_id", b"i-1")]))
    assert found.id == LetterId("raw-id", 3, 42)
    assert (found.place, found.stage, found.error_class) == (PLACE, "consumer", "contract_violation")
    assert found.reason == "orders.v1: /id: is required"
    assert found.errors == FAULT.errors
    assert "ContractViolation" in found.trace
    assert (found.timestamp, found.failed_at) == (T0, "2026-11-21T10:33:00.000000Z")
    assert (found.attempts, found.contract) == (1, "v1 sha256:" + "ab" * 32)
    assert (found.schema_version, found.ingestion_id) == ("v1", "i-1")
    assert found.truncation is None


def test_a_record_without_an_ingestion_id_has_that_of_its_position() -> None:
    assert letter(written()).ingestion_id == str(ingestion_id_of_record("raw-id", 3, 42))


def test_a_letter_of_a_replay_is_another_letter() -> None:
    found = letter(written(replay_id="r1"))
    assert found.id == LetterId("raw-id", 3, 42, "r1")


def test_a_truncated_letter_knows_the_whole_by_length_and_sha256() -> None:
    whole = b"x" * (TRUNCATED_BYTES + 1)
    found = letter(truncated(written()._replace(value=whole)))
    assert found.value == whole[:-1]
    assert found.truncation is not None
    assert (found.truncation.size, found.truncation.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert found.truncation.is_of(whole)
    assert not found.truncation.is_of(whole[:-1] + b"y")
    assert not found.truncation.is_of(None)


def test_attempts_are_counted_on_from_what_a_redriven_record_says() -> None:
    made = written(headers=[("dlq_attempts", b"3")])
    found = letter(made)
    assert found.attempts == 3
    assert found.headers == [("dlq_attempts", b"3")]


@pytest.mark.parametrize("said", [b"0", b"-1", b"1e9", b"99999999999", b"", None, b"\xff"])
def test_an_attempt_count_that_is_none_counts_as_one(said: bytes | None) -> None:
    assert attempts_of([("dlq_attempts", said)]) == 1


@pytest.mark.parametrize(("outcome", "to"), [(REDRIVEN, LetterId("raw-id", 0, 99)), (DISCARDED, None)])
def test_a_resolution_comes_back_as_it_was_written(outcome: str, to: LetterId | None) -> None:
    resolution = Resolution(LetterId("raw-id", 3, 42), outcome, "ann", "2026-11-21T10:33:00Z", "bad deploy", to)
    record = resolution_record(DATASET, resolution, 1, T0)
    assert (record.topic, record.partition, record.timestamp) == (DLQ, 1, T0)
    assert read(record) == resolution


RESOLUTION: Header = ("dlq_resolution", b"redriven")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"v", []),
        (b"v", [("dlq_stage", b"elsewhere")]),
        (b"v", [("dlq_stage", None)]),
        (b"v", [("dlq_stage", b"consumer")]),
        (b"v", [("dlq_stage", b"consumer"), ("dlq_source_topic_id", b"t"), ("dlq_source_partition", b"x")]),
        (None, [RESOLUTION]),
        (b"[" * 100_000, [RESOLUTION]),
        (b"\xff", [RESOLUTION]),
        (b'{"v":2}', [RESOLUTION]),
        (b'{"v":1,"outcome":"lost"}', [RESOLUTION]),
        (b'{"v":1,"outcome":"discarded","letter":["t",0,-1,null],"redriven_to":null}', [RESOLUTION]),
        (b'{"v":1,"outcome":"discarded","letter":["t","0",1,null],"redriven_to":null}', [RESOLUTION]),
        (b'{"v":1,"outcome":"discarded","letter":["t",0,1],"redriven_to":null}', [RESOLUTION]),
        (b'{"v":1,"outcome":"redriven","letter":["t",0,1,null],"redriven_to":null,"by":"","at":""}', [RESOLUTION]),
    ],
)
def test_what_nobody_of_ours_wrote_is_a_stray_and_stops_nobody(value: bytes | None, headers: list[Header]) -> None:
    assert isinstance(read_entry(PLACE, T0, None, value, headers), Stray)
    assert isinstance(read_identity(PLACE, value, headers), Stray)


@pytest.mark.parametrize("letter_id", [LetterId("t-1", 0, 5), LetterId("t-1", 0, 5, "r1")])
def test_a_letters_name_can_be_typed(letter_id: LetterId) -> None:
    assert LetterId.parse(str(letter_id)) == letter_id


@pytest.mark.parametrize("text", ["", "t/1", "t/1/x", "t/-1/2", "/1/2", "t/1/2/r/s", "t/1/99999999999999999999"])
def test_what_is_no_letters_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a letter is"):
        LetterId.parse(text)
