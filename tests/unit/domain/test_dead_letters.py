"""A dead letter is the original record, untouched, and tells why without quoting it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.worlds import DLQ, NOW, RAW, T0, contract

from streamlake.domain.errors import ContractViolation, DataFault, FieldError, RecordRefused, RecordTooLarge
from streamlake.domain.model.dead_letters import (
    MAX_TRACE_BYTES,
    TRUNCATED_BYTES,
    LetterSource,
    dead_letter,
    error_class,
    truncated,
)
from streamlake.domain.model.records import Header, OutgoingRecord

FAULT = ContractViolation("orders.v1", (FieldError("/id", "required", "is required"),))
SOURCE = LetterSource(RAW, "memory-1", 3, 42, 1_700_000_000_000)
NAMES = st.sampled_from(["dlq_error_class", "dlq_", "dataset", "trace", "DLQ_x", "xdlq_"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=8)


def letter(
    fault: DataFault = FAULT,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    headers: list[Header] | None = None,
    **told: Any,
) -> OutgoingRecord:
    return dead_letter("orders", "consumer", fault, key, value, headers or [], NOW, **told)


def told_by(made: OutgoingRecord) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in made.headers if name.startswith("dlq_")}


@given(st.none() | st.binary(), st.none() | st.binary(), HEADERS)
def test_key_value_and_headers_are_recoverable_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: list[Header]
) -> None:
    made = letter(key=key, value=value, headers=headers)
    kept = [(name.removeprefix("orig_"), content) for name, content in made.headers[: len(headers)]]
    assert (made.key, made.value, kept) == (key, value, headers)


@given(HEADERS)
def test_every_dlq_header_is_ours_and_there_once(headers: list[Header]) -> None:
    names = [name for name, _ in letter(headers=headers).headers if name.startswith("dlq_")]
    assert sorted(names) == sorted(set(names)) == sorted(told_by(letter()))


def test_a_header_of_the_clients_own_cannot_pass_for_ours() -> None:
    made = letter(headers=[("dlq_error_class", b"forged")])
    assert ("orig_dlq_error_class", b"forged") in made.headers
    assert told_by(made)["dlq_error_class"] == "contract_violation"


def test_a_letter_tells_where_the_record_was_and_what_judged_it() -> None:
    told = told_by(letter(source=SOURCE, contract=contract(), replay_id="r1"))
    assert told["dlq_stage"] == "consumer"
    assert told["dlq_failed_at"] == "2026-11-21T10:33:00.000000Z"
    assert told["dlq_source_topic"] == RAW
    assert (told["dlq_source_topic_id"], told["dlq_source_partition"]) == ("memory-1", "3")
    assert (told["dlq_source_offset"], told["dlq_source_timestamp"]) == ("42", "1700000000000")
    assert told["dlq_contract"] == "v1 sha256:" + "ab" * 32
    assert (told["dlq_replay_id"], told["dlq_attempts"]) == ("r1", "1")


def test_a_live_letter_of_the_api_names_no_source_and_no_replay() -> None:
    assert not {"dlq_source_topic", "dlq_source_offset", "dlq_replay_id"} & told_by(letter()).keys()


def test_a_source_without_a_timestamp_tells_none() -> None:
    assert "dlq_source_timestamp" not in told_by(letter(source=LetterSource(RAW, "memory-1", 0, 0, -1)))


def test_the_letters_time_is_the_failure_and_never_the_source() -> None:
    made = letter(source=SOURCE)
    assert made.timestamp == T0
    assert made.topic == DLQ
    assert made.partition is None


def test_the_errors_are_told_by_pointer_and_rule() -> None:
    assert json.loads(told_by(letter())["dlq_error_detail"]) == [
        {"pointer": "/id", "rule": "required", "expected": "is required"}
    ]
    assert json.loads(told_by(letter(RecordRefused("null_value", "x")))["dlq_error_detail"]) == []


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (ContractViolation("c", (FieldError("", "json", "must be JSON"),)), "malformed_json"),
        (FAULT, "contract_violation"),
        (RecordRefused("no_timestamp", "x"), "no_timestamp"),
        (RecordTooLarge("x"), "too_large"),
    ],
)
def test_error_classes_are_stable_words(fault: DataFault, word: str) -> None:
    assert error_class(fault) == word
    assert told_by(letter(fault))["dlq_error_class"] == word


def test_no_value_of_the_payload_is_in_any_header() -> None:
    """Not even through the library that found the fault: its message is the cause, and causes are not told."""
    payload = b'{"id": CANARY}'
    try:
        try:
            raise ValueError(f"unexpected token in {payload.decode()}")
        except ValueError as library:
            raise ContractViolation("orders.v1", (FieldError("", "json", "must be JSON"),)) from library
    except ContractViolation as fault:
        made = letter(fault, value=payload, source=SOURCE)
    assert all(b"CANARY" not in (content or b"") for _, content in made.headers)
    assert "test_no_value_of_the_payload" in told_by(made)["dlq_exception_trace"]


def test_a_trace_has_file_line_and_function_of_every_frame_and_then_the_fault() -> None:
    def deeper() -> None:
        raise RecordRefused("null_value", "no value")

    try:
        deeper()
    except RecordRefused as fault:
        trace = told_by(letter(fault))["dlq_exception_trace"]
    first, outer, inner, last = trace.splitlines()
    assert first == "Traceback (most recent call last):"
    assert re.fullmatch(rf'  File "{re.escape(__file__)}", line \d+, in test_a_trace_has_\w+', outer)
    assert re.fullmatch(rf'  File "{re.escape(__file__)}", line \d+, in deeper', inner)
    assert last == "streamlake.domain.errors.RecordRefused: no value"


def test_the_trace_of_what_was_never_raised_is_the_fault_alone() -> None:
    assert told_by(letter(RecordRefused("x", "no value")))["dlq_exception_trace"].endswith("RecordRefused: no value\n")


def test_a_trace_is_kept_to_its_end_and_to_8_kib() -> None:
    def deeper(levels: int) -> None:
        if levels == 0:
            raise RecordRefused("null_value", "ä" * MAX_TRACE_BYTES + "the end")
        deeper(levels - 1)

    try:
        deeper(50)
    except RecordRefused as fault:
        trace = told_by(letter(fault))["dlq_exception_trace"]
    assert len(trace.encode()) <= MAX_TRACE_BYTES
    assert trace.rstrip().endswith("the end")


def test_a_truncated_letter_keeps_the_beginning_and_identifies_the_whole() -> None:
    value = bytes(range(256)) * 2000
    cut = truncated(letter(value=value, source=SOURCE))
    assert cut.value == value[:TRUNCATED_BYTES]
    assert told_by(cut)["dlq_truncated_from_bytes"] == "512000"
    assert told_by(cut)["dlq_value_sha256"] == hashlib.sha256(value).hexdigest()
    assert told_by(cut)["dlq_source_offset"] == "42"


def test_null_stays_null_even_where_a_letter_is_truncated() -> None:
    assert letter(value=None).value is None
    assert truncated(letter(value=None)).value is None


def test_what_is_told_has_a_bound_whatever_the_number_of_errors() -> None:
    """Else one bad record with a million errors outgrows the dead-letter topic, and stops the stream."""
    errors = tuple(FieldError(f"/items/{at}", "type", "must be text") for at in range(100_000))
    made = letter(ContractViolation("orders.v1", errors))
    assert sum(len(content or b"") for _, content in made.headers) < 64 * 1024
    assert json.loads(told_by(made)["dlq_error_detail"])[0]["pointer"] == "/items/0"
