"""The corners of HTTP/1.1 in which a body is lost, or becomes another request, or a header of this one."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable

import pytest
from tests.unit.entrypoints.http_api.door import GOOD, Door, Held, listening
from tests.unit.entrypoints.http_api.wire import answer_of, connected, head, more

from streamlake.domain.ports.event_log import LogWriter

RAW, DLQ = "streamlake.orders.raw", "streamlake.orders.dlq"
H2C = "upgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
"""What curl --http2 and Java's HttpClient send with their first request."""

CHUNKED = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (GOOD[:5], len(GOOD) - 5, GOOD[5:])
FLOOD = 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("length", "body"),
    [(f"content-length: {len(GOOD)}", GOOD), ("transfer-encoding: chunked", CHUNKED)],
    ids=["whole", "chunked"],
)
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_a_request_that_offers_an_upgrade_is_answered_in_http_1_with_its_body_read(
    door: Door, length: str, body: bytes, piece: int
) -> None:
    sent = head(length, also=H2C) + body + head(f"content-length: {len(GOOD)}", also="upgrade: websocket\r\n") + GOOD
    with listening(door) as (port, _, _), connected(port) as link:
        for start in range(0, len(sent), piece):
            link.sendall(sent[start : start + piece])
        got = b""
        while got.count(b"ingested_at") < 2:
            got += more(link)
    assert got.count(b"HTTP/1.1 202") == 2
    assert [r.value for r in door.everything()] == [GOOD, GOOD]


def test_a_hundred_offers_of_an_upgrade_in_one_piece_are_a_hundred_requests(door: Door) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall((head(f"content-length: {len(GOOD)}", also=H2C) + GOOD) * 100)
        got = b""
        while got.count(b"ingested_at") < 100:
            got += more(link)
    assert len(door.stored(RAW)) == 100


def test_a_body_that_is_a_request_itself_is_one_event_whatever_its_head_offers(door: Door) -> None:
    smuggled = head(f"content-length: {len(GOOD)}") + GOOD
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(smuggled)}", also=H2C) + smuggled)
        assert answer_of(link)[0] == 422
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert answer_of(link)[0] == 202
    assert [r.value for r in door.stored(DLQ)] == [smuggled]
    assert [r.value for r in door.stored(RAW)] == [GOOD]


def test_connect_is_not_implemented_and_what_follows_it_is_no_request(door: Door) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n" + head(f"content-length: {len(GOOD)}") + GOOD)

        assert refusal(link) == (501, "urn:streamlake:problem:not-implemented", "close")
    assert door.everything() == []


def test_trailers_are_no_headers_of_this_request_nor_of_the_next(door: Door) -> None:
    trailers = b"idempotency-key: mine\r\nx-producer-service: somebody\r\ncontent-encoding: gzip\r\n\r\n"
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head("transfer-encoding: chunked") + CHUNKED[:-2] + trailers)
        answers = [answer_of(link)]
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        answers.append(answer_of(link))

    assert [status for status, _, _ in answers] == [202, 202]
    assert "mine" not in [headers["idempotency-key"] for _, headers, _ in answers]
    assert {r.headers["producer_service"] for r in door.everything()} == {b"ingestion-api"}


@pytest.mark.parametrize(
    "flood",
    [b"x: " + b"y" * 1000 + b"\r\n", b"y" * 1000],
    ids=["trailers without end", "one trailer without end"],
)
def test_trailers_count_as_the_head_does(door: Door, flood: bytes) -> None:
    begun = head("transfer-encoding: chunked") + CHUNKED[:-2] + b"x: "
    assert sent_until_hung_up(door, begun, flood) < FLOOD
    assert door.everything() == []


def test_extensions_of_a_chunk_count_as_the_head_does(door: Door) -> None:
    assert sent_until_hung_up(door, head("transfer-encoding: chunked") + b"5;", b"y" * 1000) < FLOOD
    assert door.everything() == []


def test_a_head_without_end_behind_a_request_that_waits_for_the_log_is_not_read_on(
    make_door: Callable[..., Door], log_lines: io.StringIO
) -> None:
    made: list[Held] = []

    def hold(behind: LogWriter) -> LogWriter:
        made.append(Held(behind))
        return made[0]

    door = make_door(writer=hold)
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert made[0].arrived.acquire(timeout=60)
        link.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * FLOOD)
        made[0].release()

        status, headers, _ = answer_of(link)
        assert (status, headers["connection"]) == (202, "close")
    assert log_lines.getvalue().count("api.bad_http") == 1


def test_a_large_body_with_another_request_behind_it_does_not_count_for_its_head(door: Door) -> None:
    large = GOOD[:-1] + b',"x":"' + b"y" * 300_000 + b'"}'
    request = head(f"content-length: {len(large)}") + large
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(request + request[:40])
        assert answer_of(link)[0] == 202
        link.sendall(request[40:])
        assert answer_of(link)[0] == 202
    assert [r.value for r in door.everything()] == [large, large]


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "gzip\r\ntransfer-encoding: chunked"])
def test_a_transfer_coding_beside_chunked_is_not_implemented(door: Door, coding: str) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head(f"transfer-encoding: {coding}") + CHUNKED)

        status, _, connection = refusal(link)
        assert (status, connection) == (400, "close") if coding == "chunked, chunked" else (501, "close")
    assert door.everything() == []


def refusal(link: socket.socket) -> tuple[int, str, str]:
    status, headers, body = answer_of(link)
    return status, json.loads(body)["type"], headers["connection"]


def sent_until_hung_up(door: Door, begin: bytes, flood: bytes) -> int:
    sent = 0
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(begin)
        try:
            while sent < FLOOD:
                sent += link.send(flood)
        except OSError:
            pass  # it hung up while we were still sending
    return sent
