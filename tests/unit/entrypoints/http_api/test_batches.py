"""POST /v1/datasets/{dataset}/events:batch: one result per event, in order; a bad event harms no other."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.entrypoints.http_api.door import GOOD, JSON, NDJSON, Door, FailsOnKey

from streamlake.domain.errors import OutcomeUnknown
from streamlake.domain.model.envelope import ingestion_id_of_request
from streamlake.entrypoints.http_api import ApiOptions
from streamlake.entrypoints.http_api.bodies import JSON as JSON_TYPE
from streamlake.entrypoints.http_api.bodies import NDJSON as NDJSON_TYPE
from streamlake.entrypoints.http_api.bodies import BatchSlicer
from streamlake.entrypoints.http_api.events import AT_ONCE
from streamlake.entrypoints.http_api.failures import LINES_A_BATCH
from streamlake.entrypoints.http_api.problems import Refused

BATCH = "/v1/datasets/orders/events:batch"
A, B, C = b'{ "id":"a", "amount":1.0}', b'{"id":"b","amount":1e2}', b'{"amount":3,"id":"c"}'
BAD = b'{"id":"bad","amount":-1}'


def test_a_batch_of_good_events_is_202_with_one_entry_each_and_the_clients_own_bytes(door: Door) -> None:
    answer = door.post(BATCH, b" [" + A + b" ,\n" + B + b"," + C + b"]\n", {**JSON, "idempotency-key": "k"})

    told = answer.json()
    assert (answer.status_code, told["accepted"], told["failed"]) == (202, 3, 0)
    stored = {(r.topic, r.partition, r.offset): (r.value, r.headers["ingestion_id"]) for r in door.everything()}
    entries = [(e["topic"], e["partition"], e["offset"]) for e in told["results"]]
    assert [stored[place][0] for place in entries] == [A, B, C]
    ids = [ingestion_id_of_request("ingestion-api", "orders", "k", n) for n in range(3)]
    assert [e["ingestion_id"] for e in told["results"]] == ids
    assert [stored[place][1] for place in entries] == [i.encode() for i in ids]
    assert {e["status"] for e in told["results"]} == {202}
    assert answer.headers["idempotency-key"] == "k"


def test_a_batch_with_a_bad_event_is_207_and_only_that_one_is_lettered(door: Door) -> None:
    answer = door.post(BATCH, b"[" + b",".join([A, BAD, B]) + b"]")

    told = answer.json()
    assert (answer.status_code, told["accepted"], told["failed"]) == (207, 2, 1)
    assert [e["status"] for e in told["results"]] == [202, 422, 202]
    assert told["results"][1]["errors"][0]["pointer"] == "/amount"
    assert {r.value for r in door.stored("streamlake.orders.raw")} == {A, B}
    (letter,) = door.stored("streamlake.orders.dlq")
    assert letter.value == BAD
    assert told["results"][1]["dead_letter"]["offset"] == letter.offset


def test_each_line_of_ndjson_is_an_event_of_its_own_and_empty_ones_are_skipped(door: Door) -> None:
    body = b"\n" + A + b"\r\n\r\n  \n{broken\n" + B
    answer = door.post(BATCH, body, NDJSON)

    assert [e["status"] for e in answer.json()["results"]] == [202, 422, 202]
    assert {r.value for r in door.stored("streamlake.orders.raw")} == {A, B}
    assert [r.value for r in door.stored("streamlake.orders.dlq")] == [b"{broken"]


@pytest.mark.parametrize("event", [A, BAD], ids=["good", "bad"])
def test_a_large_batch_lets_others_have_their_turn_and_is_one_batch_all_the_same(door: Door, event: bytes) -> None:
    """Of ten thousand bad events the one that came just after them would have to wait for a second."""
    count = 5 * AT_ONCE + 1
    ended: list[str] = []

    async def ask(name: str, path: str, body: bytes) -> httpx.Response:
        answer = await door.ask("POST", path, content=body, headers={**JSON, "idempotency-key": "k"})
        ended.append(name)
        return answer

    async def both() -> tuple[httpx.Response, httpx.Response]:
        large = ask("large", BATCH, b"[" + b",".join([event] * count) + b"]")
        return await asyncio.gather(large, ask("small", "/v1/datasets/orders/events", GOOD))

    answer, small = door.run(both())
    assert (ended, small.status_code) == (["small", "large"], 202)
    entries = answer.json()["results"]
    ids = [ingestion_id_of_request("ingestion-api", "orders", "k", n) for n in range(count)]
    assert [e["ingestion_id"] for e in entries] == ids
    stored = {r.headers["ingestion_id"]: r.value for r in door.everything() if r.headers["ingestion_id"]}
    assert {i.encode(): event for i in ids}.items() <= stored.items()


@pytest.mark.parametrize(
    "bad", [b'{"id":"n","amount":NaN}', b'{"id":"x" "y"}', b"tru", b'{"id":"\\q"}', b"", b'{"s":"]}\\",[{"}x']
)
def test_a_broken_element_of_an_array_harms_no_other(door: Door, bad: bytes) -> None:
    answer = door.post(BATCH, b"[" + b",".join([A, bad, B]) + b"]")

    assert [e["status"] for e in answer.json()["results"]] == [202, 422, 202]
    assert {r.value for r in door.stored("streamlake.orders.raw")} == {A, B}
    assert [r.value for r in door.stored("streamlake.orders.dlq")] == [bad]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[", b"[1,2", b'["', b"[1]]", b"[}", b"\xef\xbb\xbf[1]", b"[]", b" [ ] "]
)
def test_what_is_no_batch_is_422_for_the_request_and_nothing_is_stored(door: Door, body: bytes) -> None:
    answer = door.post(BATCH, body)

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:streamlake:problem:malformed-batch")
    assert "Nothing was stored" in answer.json()["detail"]
    assert door.everything() == []


def test_a_batch_without_lines_is_422(door: Door) -> None:
    assert door.post(BATCH, b"\n \n", NDJSON).status_code == 422


def test_an_event_over_the_event_limit_is_a_413_of_its_own(make_door: Callable[..., Door]) -> None:
    door = make_door(options=ApiOptions(max_event_bytes=64))
    large = b'{"id":"' + b"x" * 64 + b'","amount":1}'
    answer = door.post(BATCH, b"[" + A + b"," + large + b"]")

    assert [e["status"] for e in answer.json()["results"]] == [202, 413]
    assert [r.value for r in door.everything()] == [A]


@pytest.mark.parametrize(
    ("body", "headers"), [(b"[" + b"1," * 10 + b"1]", JSON), (b"{}\n" * 11, NDJSON), (b"\n" * 11, NDJSON)]
)
def test_more_events_than_a_batch_may_have_are_413(
    make_door: Callable[..., Door], body: bytes, headers: dict[str, str]
) -> None:
    door = make_door(options=ApiOptions(max_batch_events=10))

    assert door.post(BATCH, body, headers).status_code == 413
    assert door.everything() == []


def test_a_fault_of_the_log_is_told_per_event(make_door: Callable[..., Door]) -> None:
    door = make_door(writer=lambda behind: FailsOnKey(behind, b"b", OutcomeUnknown("timed out on broker 3")))
    answer = door.post(BATCH, b"[" + b",".join([A, B, BAD, C]) + b"]", {**JSON, "idempotency-key": "again"})

    entries = answer.json()["results"]
    assert [e["status"] for e in entries] == [202, 504, 422, 202]
    assert entries[1]["idempotency_key"] == "again"
    assert "broker" not in answer.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "\n", "\t\r\n"])


@given(st.lists(st.tuples(VALUES, SPACE, SPACE), min_size=1, max_size=6), st.booleans())
def test_slicing_an_array_gives_each_elements_own_bytes(elements: list[tuple[object, str, str]], broken: bool) -> None:
    texts = [json.dumps(value, ensure_ascii=False).encode() for value, _, _ in elements]
    if broken:
        texts.append(b"nul")  # not JSON, so the array goes the slow way
    spaced = [a.encode() + text + b.encode() for text, (_, a, b) in zip(texts, [*elements, (0, "", "")], strict=False)]

    assert list(BatchSlicer(10).slice(b"[" + b",".join(spaced) + b"]", JSON_TYPE)) == texts


@given(st.binary(max_size=40), st.sampled_from([JSON_TYPE, NDJSON_TYPE]))
def test_slicing_any_bytes_gives_events_or_a_refusal(body: bytes, media: str) -> None:
    try:
        events = BatchSlicer(10).slice(b"[" + body, media)
    except Refused:
        return
    assert 1 <= len(events) <= 10


def test_a_batch_full_of_bad_events_has_a_few_log_lines_and_one_that_sums_up_all(
    door: Door, log_lines: io.StringIO
) -> None:
    door.post(BATCH, b"[" + b",".join([b"{}"] * 500 + [A] + [b"1 1"] * 3) + b"]")

    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    lines = [line for line in lines if line.get("dataset") == "orders"]  # not the test's own client's
    assert Counter(line["event"] for line in lines) == {"dead_letter": LINES_A_BATCH, "batch_failures": 1}
    told = next(line for line in lines if line["event"] == "batch_failures")
    assert (told["dataset"], told["failed"], told["outcomes"]) == ("orders", 503, {"rejected": 503})
    assert told["error_classes"] == {"contract_violation": 500, "malformed_json": 3}
    stored = door.stored("streamlake.orders.dlq")
    offsets = {n: [r.offset for r in stored if r.partition == n] for n in {r.partition for r in stored}}
    assert told["letters"] == [
        {"partition": n, "count": len(offsets[n]), "first": min(offsets[n]), "last": max(offsets[n])}
        for n in sorted(offsets)
    ]
