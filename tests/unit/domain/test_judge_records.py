"""Which records are fit for the raw zone, and what their envelopes say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.worlds import BAD, DATASET, DAY, FORMATS, GOOD, P0, T0, TOPIC_ID, Catalog, contract

from streamlake.domain.errors import ContractViolation, DataFault, RecordRefused
from streamlake.domain.model.envelope import ingestion_id_of_record
from streamlake.domain.model.records import UNREADABLE, Header
from streamlake.domain.model.rows import Rows, longs
from streamlake.domain.model.snapshots import Row
from streamlake.domain.model.times import DAY_MS, LAST_MS
from streamlake.domain.use_cases.judge_records import JudgeRecords, day_of

JUDGE = JudgeRecords(DATASET, Catalog(contract(1), contract(3)))
TEXT_OR_BYTES = st.none() | st.binary(max_size=6) | st.sampled_from([GOOD, b"v1", b"v3", b"orders"])
NAMES = st.sampled_from(["dataset", "schema_version", "ingestion_id", "producer_service", "ingested_at", "other"])


def judge(
    value: bytes | None = GOOD, *, timestamp: int = T0, key: bytes | None = b"k", headers: list[Header] | None = None
) -> Row:
    return JUDGE.judge(TOPIC_ID, 2, 7, timestamp, key, value, headers or [])


def test_a_row_says_what_the_headers_say() -> None:
    told: list[Header] = [
        ("dataset", b"orders"),
        ("schema_version", b"v1"),
        ("ingestion_id", b"an-id"),
        ("producer_service", b"shop"),
        ("ingested_at", b"2026-11-21T10:00:00.000001Z"),
        ("trace", b"t"),
    ]
    row = Row(DAY, "k", "v1", "an-id", "shop", "2026-11-21T10:00:00.000001Z", [("trace", b"t")], GOOD)
    assert judge(headers=told) == row


def test_a_record_of_another_producer_is_judged_by_the_newest_contract() -> None:
    row = judge()
    assert (row.schema_version, row.producer_service) == ("v3", None)
    assert row.ingestion_id == str(ingestion_id_of_record(TOPIC_ID, 2, 7))
    assert row.ingested_at == "2026-11-21T10:33:00.000000Z"


@pytest.mark.parametrize(
    ("rule", "record"),
    [
        ("no_timestamp", {"timestamp": -1}),
        ("timestamp_out_of_range", {"timestamp": -2}),
        ("timestamp_out_of_range", {"timestamp": LAST_MS}),
        ("header_not_utf8", {"headers": [("ingestion_id", b"\xff")]}),
        ("header_not_utf8", {"headers": UNREADABLE}),
        ("unknown_schema_version", {"headers": [("schema_version", b"v2")]}),
        ("unknown_schema_version", {"headers": [("schema_version", b"")]}),
        ("null_value", {"value": None}),
        ("key_not_utf8", {"key": b"\xff"}),
    ],
)
def test_every_refusal_has_its_rule(rule: str, record: dict[str, Any]) -> None:
    with pytest.raises(RecordRefused) as refused:
        judge(**record)
    assert refused.value.rule == rule


def test_a_refusal_names_the_rule_and_never_the_value() -> None:
    for record in ({"headers": [("schema_version", b"CANARY")]}, {"key": b"CANARY\xff"}):
        with pytest.raises(RecordRefused) as refused:
            judge(**record)
        assert "CANARY" not in str(refused.value)


def test_a_violation_names_the_contract_that_was_broken() -> None:
    for version, name in ((b"v1", "orders.v1"), (b"v3", "orders.v3")):
        with pytest.raises(ContractViolation) as broken:
            judge(BAD, headers=[("schema_version", version)])
        found = JUDGE.contract_of(broken.value)
        assert found is not None
        assert found.name == name


def test_a_refusal_broke_no_contract() -> None:
    assert JUDGE.contract_of(RecordRefused("null_value", "x")) is None


@given(
    TEXT_OR_BYTES,
    TEXT_OR_BYTES,
    st.lists(st.tuples(NAMES, TEXT_OR_BYTES), max_size=6),
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, LAST_MS),
)
def test_nothing_but_a_data_fault_is_raised_whatever_the_bytes(
    key: bytes | None, value: bytes | None, headers: list[Header], timestamp: int
) -> None:
    try:
        row = JUDGE.judge(TOPIC_ID, 0, 0, timestamp, key, value, headers)
    except DataFault:
        return
    assert row.payload == value
    assert row.key == (None if key is None else key.decode())
    assert row.day == timestamp // DAY_MS


@pytest.mark.parametrize(("timestamp", "day"), [(0, 0), (DAY_MS - 1, 0), (DAY_MS, 1), (-1, None), (LAST_MS, None)])
def test_the_day_is_a_function_of_the_timestamp_alone(timestamp: int, day: int | None) -> None:
    assert day_of(timestamp) == day


def landed(payload: bytes) -> bytes:
    """The payload's bytes as the raw zone has them, by way of judging and encoding."""
    row = judge(payload)
    rows = Rows(P0, TOPIC_ID, longs([7]), longs([T0]), [row.key], [row.schema_version], [row.ingestion_id], [None])
    rows.ingested_ats, rows.headers, rows.payloads = [row.ingested_at], [row.headers], [row.payload]
    body = FORMATS["json"].encode(DATASET, [rows], None).body
    assert body.count(b"\n") == 1
    assert body.endswith(b"}\n")
    assert json.loads(body)["payload"] == json.loads(payload)
    _, _, spliced = body.partition(b'"payload":')
    return spliced[:-2]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"z":1,"id":"a","b":2,"a":3}',
        b' \t{ "id" :\t"a" , "n" : [ 1 , 2 ] }  ',
        b'{"id":"\\u00e9\\/\\ud83c\\udf0a\\n"}',
        '{"id":"é/\u2028\u0085"}'.encode(),
        b'{"id":123456789012345678901234567890}',
        b'{"id":1,"a":1.0,"b":1,"c":1e2,"d":-0,"e":-0.0,"f":0.1000}',
        b'{"id":"a","id":"b"}',
        b'{"id":"\\ud800"}',
        b'{"id":"a","payload":"}\\n","x":{}}',
    ],
    ids=["order", "white space", "escapes", "separators", "large", "numbers", "duplicates", "surrogate", "nested"],
)
def test_a_payload_lands_byte_for_byte(payload: bytes) -> None:
    assert landed(payload) == payload


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"])
def test_a_raw_newline_becomes_a_space(newline: bytes) -> None:
    """In valid JSON it can only stand between tokens, where a space means the same."""
    spaces = b" " * len(newline)
    assert landed(newline.join([b"{", b'"id":', b'"a"', b"}", b""])) == spaces.join([b"{", b'"id":', b'"a"', b"}", b""])
