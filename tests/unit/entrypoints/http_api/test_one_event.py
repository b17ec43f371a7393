"""POST /v1/datasets/{dataset}/events: each status means what the table of the design says."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from structlog.testing import capture_logs
from tests.unit.entrypoints.http_api.door import GOOD, JSON, Door

from streamlake.domain.model.envelope import ingestion_id_of_request
from streamlake.entrypoints.http_api import ApiOptions

EVENTS = "/v1/datasets/orders/events"


def assert_problem(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    told = answer.json()
    assert (told["type"], told["status"]) == (f"urn:streamlake:problem:{kind}", status)
    assert told["title"]
    assert told["detail"]


def test_an_accepted_event_lies_in_the_log_byte_for_byte_where_the_answer_says(door: Door) -> None:
    answer = door.post(EVENTS, headers={**JSON, "idempotency-key": "k 1", "x-producer-service": "shop.api"})

    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
    (record,) = door.everything()
    told = answer.json()
    assert (told["topic"], told["partition"], told["offset"]) == (record.topic, record.partition, record.offset)
    assert (record.topic, record.key, record.value) == ("streamlake.orders.raw", b"a-1", GOOD)
    assert record.headers == {
        "dataset": b"orders",
        "schema_version": b"v2",
        "producer_service": b"shop.api",
        "ingested_at": told["ingested_at"].encode(),
        "ingestion_id": told["ingestion_id"].encode(),
    }
    assert told["ingested_at"] == "2026-01-01T00:00:00.000000Z"
    assert set(told) == {"ingestion_id", "dataset", "topic", "partition", "offset", "ingested_at"}


def test_the_ingestion_id_follows_from_service_dataset_and_key(door: Door) -> None:
    first, second = (door.post(EVENTS, headers={**JSON, "idempotency-key": "again"}) for _ in range(2))

    expected = ingestion_id_of_request("ingestion-api", "orders", "again")
    assert [a.json()["ingestion_id"] for a in (first, second)] == [expected, expected]


def test_a_client_without_a_key_is_told_the_one_made_for_it(door: Door) -> None:
    answer = door.post(EVENTS)

    made = answer.headers["idempotency-key"]
    assert answer.json()["ingestion_id"] == ingestion_id_of_request("ingestion-api", "orders", made)
    assert door.post(EVENTS).headers["idempotency-key"] != made


def test_a_contract_violation_is_in_the_dead_letter_topic_and_named_by_pointer(door: Door) -> None:
    broken = b'{"id":"a-1","amount":"s3cret"}'
    with capture_logs() as lines:
        answer = door.post(EVENTS, broken)

    assert_problem(answer, 422, "contract-violation")
    (letter,) = door.everything()
    assert (letter.topic, letter.value) == ("streamlake.orders.dlq", broken)
    told = answer.json()
    assert told["dead_letter"] == {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    assert told["ingestion_id"].encode() == letter.headers["ingestion_id"]
    assert [e["pointer"] for e in told["errors"]] == ["/amount"]
    (line,) = lines
    assert (line["event"], line["dataset"], line["error_class"]) == ("dead_letter", "orders", "contract_violation")
    assert (line["topic"], line["partition"], line["offset"]) == (letter.topic, letter.partition, letter.offset)
    assert line["ingestion_id"] == told["ingestion_id"]
    assert "s3cret" not in answer.text + repr(lines)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nul", b"[" * 100_000])
def test_what_is_not_json_is_lettered_as_it_came(door: Door, body: bytes) -> None:
    assert_problem(door.post(EVENTS, body), 422, "malformed-json")
    assert [(r.topic, r.value) for r in door.everything()] == [("streamlake.orders.dlq", body)]


@pytest.mark.parametrize("dataset", ["nope", "ORDERS", "%2e%2e", "", "orders%00", "orders%0a", "a" * 5000])
def test_an_unknown_dataset_is_404_and_nothing_is_stored(door: Door, dataset: str) -> None:
    assert_problem(door.post(f"/v1/datasets/{dataset}/events"), 404, "unknown-dataset")
    assert door.everything() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post_is_allowed(door: Door, method: str) -> None:
    answer = door.request(method, EVENTS)

    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-ndjson"},
        {"content-type": "application/json; charset=utf-16"},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "identity"},
    ],
)
def test_what_is_not_plain_json_is_415_and_nothing_is_stored(door: Door, headers: dict[str, str]) -> None:
    assert_problem(door.post(EVENTS, headers=headers), 415, "unsupported-media-type")
    assert door.everything() == []


@pytest.mark.parametrize("spelling", ["Application/JSON", 'application/json; charset="UTF-8"', "application/json;"])
def test_json_may_be_spelled_in_every_legal_way(door: Door, spelling: str) -> None:
    assert door.post(EVENTS, headers={"content-type": spelling}).status_code == 202


@pytest.mark.parametrize(
    "header",
    [
        {"idempotency-key": ""},
        {"idempotency-key": "k" * 201},
        {"idempotency-key": "tab\tbed"},
        {"x-producer-service": "two words"},
        {"x-producer-service": "s" * 101},
        {"x-schema-version": "1"},
        {"x-schema-version": "v1\x00"},
    ],
)
def test_a_header_outside_its_charset_is_400_and_nothing_is_stored(door: Door, header: dict[str, str]) -> None:
    assert_problem(door.post(EVENTS, headers={**JSON, **header}), 400, "invalid-request")
    assert door.everything() == []


def test_the_version_is_chosen_by_parameter_or_header(door: Door) -> None:
    without_amount = b'{"id":"a"}'

    assert door.post(EVENTS, without_amount).status_code == 422
    assert door.post(EVENTS + "?schema_version=v1", without_amount).status_code == 202
    assert door.post(EVENTS, without_amount, {**JSON, "x-schema-version": "v1"}).status_code == 202
    assert {r.headers["schema_version"] for r in door.stored("streamlake.orders.raw")} == {b"v1"}
    assert_problem(door.post(EVENTS + "?schema_version=v9"), 404, "unknown-dataset")
    both = door.post(EVENTS + "?schema_version=v1", headers={**JSON, "x-schema-version": "v2"})
    assert_problem(both, 400, "invalid-request")


def test_an_event_over_the_limit_is_413_and_one_at_the_limit_is_not(make_door: Callable[..., Door]) -> None:
    door = make_door(options=ApiOptions(max_event_bytes=len(GOOD)))

    assert door.post(EVENTS).status_code == 202
    assert_problem(door.post(EVENTS, GOOD + b" "), 413, "too-large")
    assert len(door.everything()) == 1
