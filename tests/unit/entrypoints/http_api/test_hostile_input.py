"""What strangers send: each answered as the table says, over a real socket, and nothing of it breaks the next event."""

from __future__ import annotations

import gzip
import io
import json
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.unit.entrypoints.http_api.door import GOOD, Door, listening
from tests.unit.entrypoints.http_api.wire import answer_of, connected, head

from streamlake.entrypoints.http_api import ApiOptions
from streamlake.entrypoints.http_api.protocol import MAX_HEAD_BYTES, BoundedHttp

RAW, DLQ = "streamlake.orders.raw", "streamlake.orders.dlq"
TELLS_TOO_MUCH = ("Traceback", 'File "', "uvicorn", "httptools", "pydantic", "Python/", "starlette", "s3cret")

MALFORMED = {
    "nothing": b"",
    "half an object": b'{"id":"s3cret"',
    "NaN in a field of the contract": b'{"id":"s3cret","amount":NaN}',
    "NaN in an unknown field": b'{"id":"s3cret","amount":1,"x":{"y":[NaN]}}',
    "-Infinity in an unknown field": b'{"id":"s3cret","amount":1,"x":-Infinity}',
    "a depth bomb": b"[" * 100_000,
    "a depth bomb in an unknown field": b'{"id":"a","amount":1,"x":' + b'{"x":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "a number of 5,000 digits": b'{"id":"a","amount":1,"x":' + b"9" * 5_000 + b"}",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "Latin-1": '{"id":"é","amount":1}'.encode("latin-1"),
    "overlong UTF-8": b'{"id":"a\xc0\xaf","amount":1}',
    "UTF-8 of a surrogate": b'{"id":"a\xed\xa0\x80","amount":1}',
    "an escaped lone surrogate": b'{"id":"a\\ud800","amount":1}',
    "a raw control character": b'{"id":"a\x01","amount":1}',
    "a raw NUL": GOOD + b"\x00",
    "two documents": GOOD + GOOD,
    "a trailing comma": b'{"id":"a","amount":1,}',
    "single quotes": b"{'id':'s3cret'}",
    "gzip without saying so": gzip.compress(GOOD),
}
VIOLATIONS = {
    "a number beyond a double": b'{"id":"a","amount":1e999}',
    "a string for a number": b'{"id":"a","amount":"s3cret"}',
    "an array": b"[]",
    "null": b"null",
    "a string": b'"s3cret"',
    "an empty key": b'{"id":"","amount":1}',
    "the last of two names counts, and is wrong": b'{"id":"a","amount":1,"amount":-1}',
}
ACCEPTED = {
    "the last of two names counts, and is right": b'{"id":"a","amount":"no","amount":1}',
    "NaN in a string": b'{"id":"NaN","amount":1,"x":"Infinity"}',
    "a big integer in an unknown field": b'{"id":"a","amount":1,"x":123456789012345678901234567890}',
    "an escaped NUL": b'{"id":"a\\u0000b","amount":1}',
    "an escaped pair of surrogates": b'{"id":"\\ud83d\\ude00","amount":1}',
    "white space all around": b" \r\n\t" + GOOD + b"\n ",
    "a name that JavaScript minds": b'{"id":"a","amount":1,"__proto__":{"x":1}}',
}
BODIES: list[tuple[int, str, str | None, str, bytes]] = [
    (422, DLQ, "malformed-json", *item) for item in MALFORMED.items()
]
BODIES += [(422, DLQ, "contract-violation", *item) for item in VIOLATIONS.items()]
BODIES += [(202, RAW, None, *item) for item in ACCEPTED.items()]


@pytest.mark.parametrize(("status", "topic", "kind", "name", "body"), BODIES, ids=[f"{b[3]}" for b in BODIES])
def test_a_body_is_judged_by_its_bytes_and_stored_as_it_came(
    door: Door, log_lines: io.StringIO, status: int, topic: str, kind: str | None, name: str, body: bytes
) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(body)}") + body)
        answered, _, told = answer_of(link)
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        after = answer_of(link)[0]

    assert (answered, after) == (status, 202), name
    assert json.loads(told).get("type") == (kind and f"urn:streamlake:problem:{kind}")
    stored = [r.value or b"" for r in door.stored(topic)]
    assert sorted(stored) == sorted([body] if topic == DLQ else [body, GOOD])
    assert not [word for word in TELLS_TOO_MUCH if word in told.decode() + log_lines.getvalue()]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/../../etc/passwd/events",
        "/v1/datasets/%2e%2e/events",
        "/v1/datasets/..%2f..%2fetc/events",
        "/v1/datasets/orders%00/events",
        "/v1/datasets/orders%0d%0aset-cookie:%20a/events",
        "/v1/datasets/ORDERS/events",
        "/v1/datasets/orders.v1/events",
        "/v1/datasets/orders;a=b/events",
        "/v1/datasets/ orders/events".replace(" ", "%20"),
        "/v1/datasets//events",
        "/v1/datasets/orders//events",
        "/v1/datasets/orders/events/",
        "//v1/datasets/orders/events",
        "/v1/datasets/\xc3\xb6rders/events",
        "/v1/datasets/%c0%ae%c0%ae/events",
        "/v1/datasets/" + "a" * 10_000 + "/events",
        "/docs/assets/..%2f..%2f__init__.py",
    ],
)
def test_no_path_leads_anywhere_but_where_it_says(door: Door, path: str) -> None:
    request = head(f"content-length: {len(GOOD)}").decode().replace("/v1/datasets/orders/events", path, 1)
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(request.encode("latin-1") + GOOD)

        status, headers, _ = answer_of(link)
    assert status in (400, 404, 405)
    assert headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in headers
    assert door.everything() == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"idempotency-key: a\x00b", 400),
        (b"idempotency-key: a\rb", 400),
        (b"idempotency-key: a\nb", 400),
        (b"idempotency-key: a\r\n b", 400),
        (b"x-producer-service: a\x00b", 400),
        (b"x-producer-service: \xc3\xa9", 400),
        (b"x-schema-version: v1\x00", 400),
        (b"bad name: x", 400),
        (b"content-length: 5", 400),
        (b"transfer-encoding: chunked", 400),
        (b"transfer-encoding: gzip", 400),
        (b"content-encoding: gzip", 415),
        (b"content-encoding: identity", 415),
        (b"x: " + b"y" * 2 * MAX_HEAD_BYTES, 431),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_header_that_is_not_what_it_should_be_is_refused_and_nothing_is_stored(
    door: Door, line: bytes, status: int
) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        begin, end = head(f"content-length: {len(GOOD)}")[:-2], b"\r\n\r\n"
        link.sendall(begin + line + end + GOOD)

        answered, headers, _ = answer_of(link)
    assert (answered, headers["content-type"]) == (status, "application/problem+json")
    assert door.everything() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
def test_only_post_is_a_way_to_send(door: Door, method: str) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(f"{method} /v1/datasets/orders/events HTTP/1.1\r\nhost: x\r\n\r\n".encode())

        status, headers = answer_of(link, with_body=method != "HEAD")[:2]
    assert (status, headers["allow"]) == (405, "post")


def test_a_url_without_end_is_431(door: Door) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(b"GET /" + b"a" * (2 * MAX_HEAD_BYTES))

        status, _, body = answer_of(link)
    assert (status, json.loads(body)["type"]) == (431, "urn:streamlake:problem:head-too-large")


def test_a_sender_of_single_bytes_is_cut_off_though_it_never_pauses(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "receive_deadline_s", 1.0)
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head("content-length: 1000000"))
        link.settimeout(0.01)
        got = b""
        while b"\r\n\r\n" not in got:
            try:
                link.send(b" ")
                got += link.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert got.startswith(b"HTTP/1.1 408")
    assert door.everything() == []


def test_a_body_that_is_all_one_batch_of_nothing_holds_no_memory_after_its_refusal(
    make_door: Callable[..., Door],
) -> None:
    door = make_door(options=ApiOptions(max_batch_events=100))
    bodies = (b"[" + b"1," * 500_000 + b"1]", b"[" * 1_000_000, b"[" + b'"' * 1_000_000, b"[{" + b"]" * 100)
    with listening(door) as (port, _, _):
        for body in bodies:
            with connected(port) as link:
                link.sendall(head(f"content-length: {len(body)}", "events:batch") + body)
                assert answer_of(link)[0] in (413, 422)
    assert (door.everything(), door.app.events.inflight.bytes) == ([], 0)


def test_a_thousand_idle_connections_keep_nobody_out(door: Door) -> None:
    """A slice of `python -m tests.torture_http.connections`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    try:
        with listening(door) as (port, _, _), ExitStack() as held:
            for _ in range(1000):
                held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            with connected(port) as link:
                link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
                assert answer_of(link)[0] == 202
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
