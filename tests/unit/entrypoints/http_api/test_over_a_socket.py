"""What only shows on a real socket: bodies that stream or lie, slow senders, and stopping with requests in flight."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from tests.unit.entrypoints.http_api.door import GOOD, AlwaysFails, Door, Held, listening
from tests.unit.entrypoints.http_api.wire import answer_of, connected, head, more

from streamlake.domain.errors import NotStored, OutcomeUnknown, StreamLakeError, WriterFailed
from streamlake.domain.ports.event_log import LogWriter
from streamlake.entrypoints.http_api import ApiOptions
from streamlake.entrypoints.http_api.protocol import BoundedHttp

LIMIT = 1000


@pytest.fixture
def small(make_door: Callable[..., Door]) -> Door:
    return make_door(options=ApiOptions(max_event_bytes=LIMIT, max_batch_bytes=LIMIT))


def test_a_chunked_upload_is_cut_at_the_limit_while_it_streams(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head("transfer-encoding: chunked"))
        chunk = b"%x\r\n%s\r\n" % (600, b" " * 600)
        link.sendall(chunk)
        link.sendall(chunk)  # and never the end

        status, headers, _ = answer_of(link)
    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert small.everything() == []


def test_a_chunked_upload_within_the_limit_is_an_event_like_any_other(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head("transfer-encoding: chunked"))
        for byte in GOOD:
            link.sendall(b"1\r\n%c\r\n" % byte)
        link.sendall(b"0\r\n\r\n")

        assert answer_of(link)[0] == 202
    assert [r.value for r in small.everything()] == [GOOD]


@pytest.mark.parametrize(
    ("declared", "status"), [(LIMIT + 1, 413), (10**18, 413), (10**30, 400), ("-1", 400), ("1e3", 400), ("0x10", 400)]
)
def test_a_content_length_that_cannot_be_is_answered_before_the_body_comes(
    small: Door, declared: object, status: int
) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {declared}"))

        answered, headers, _ = answer_of(link)
    assert (answered, headers["content-type"]) == (status, "application/problem+json")


def test_a_client_that_waits_for_100_continue_is_refused_without_it_and_hung_up_on(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {LIMIT + 1}", also="expect: 100-continue\r\n"))

        status, headers, _ = answer_of(link)
        assert (status, headers["connection"], link.recv(1)) == (413, "close", b"")


def test_a_client_that_waits_for_100_continue_is_told_to_go_on_before_it_sends_the_body(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}", also="expect: 100-continue\r\n"))
        interim = more(link)
        link.sendall(GOOD)

        assert (interim, answer_of(link)[0]) == (b"HTTP/1.1 100 Continue\r\n\r\n", 202)
    assert [r.value for r in small.everything()] == [GOOD]


def test_an_answer_comes_in_one_piece(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)

        top, _, body = more(link).partition(b"\r\n\r\n")
    assert (top[:12], json.loads(body)["dataset"]) == (b"HTTP/1.1 202", "orders")


def test_a_body_longer_than_its_content_length_is_one_event_and_then_no_http(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD + b"<<<and more>>>\r\n\r\n")

        status, headers, _ = answer_of(link)
        assert (status, headers["connection"], link.recv(1)) == (202, "close", b"")
    assert [r.value for r in small.everything()] == [GOOD]


@pytest.mark.parametrize("sent", [head("content-length: 30") + b"{", b"POST /v1/datasets/orders/eve"])
def test_a_slow_sender_is_cut_off_at_the_deadline(small: Door, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "receive_deadline_s", 1.0)
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(sent)

        status, headers, body = answer_of(link)
        assert (status, headers["content-type"], headers["connection"]) == (408, "application/problem+json", "close")
        assert json.loads(body)["type"] == "urn:streamlake:problem:too-slow"
        assert link.recv(1) == b""
    assert small.everything() == []
    assert small.app.events.inflight.requests == 0


def test_a_client_that_says_nothing_is_hung_up_on(small: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "receive_deadline_s", 1.0)
    with listening(small) as (port, _, _), connected(port) as link:
        assert link.recv(1) == b""


def test_an_answer_the_log_is_slow_with_is_no_fault_of_the_sender(
    make_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "receive_deadline_s", 1.0)
    door, held = held_door(make_door)
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert held.arrived.acquire(timeout=60)
        with connected(port) as idle:
            assert idle.recv(1) == b""  # its deadline has passed, and the other's was before
        held.release()

        assert answer_of(link)[0] == 202


def test_a_head_without_end_is_431(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += link.send(b"x: " + b"y" * 1000)
        except OSError:
            pass  # it hung up while we were still sending
    assert sent < 32 * 1024 * 1024  # what fits the buffers in between, not what we would have sent
    assert small.app.events.inflight.requests == 0


def test_what_is_not_http_is_a_400_problem_without_a_server_header(small: Door) -> None:
    with listening(small) as (port, _, _), connected(port) as link:
        link.sendall(b"\x16\x03\x01 hello\r\n\r\n")

        status, headers, body = answer_of(link)
    assert (status, headers["content-type"], json.loads(body)["status"]) == (400, "application/problem+json", 400)
    assert json.loads(body)["type"] == "urn:streamlake:problem:bad-http"
    assert "server" not in headers


def test_requests_sent_at_once_on_one_connection_are_answered_in_order(door: Door) -> None:
    body = b'{"id":"%d","amount":1}'
    with listening(door) as (port, _, _), connected(port) as link:
        events = [body % n for n in range(5)]
        link.sendall(b"".join(head(f"content-length: {len(e)}") + e for e in events))
        got = b""
        while got.count(b"ingested_at") < 5:
            got += more(link)
    assert got.count(b"HTTP/1.1 202") == 5
    assert {r.value for r in door.everything()} == set(events)


def held_door(make_door: Callable[..., Door], at_close: StreamLakeError | None = None) -> tuple[Door, Held]:
    made: list[Held] = []

    def hold(behind: LogWriter) -> LogWriter:
        made.append(Held(behind, at_close))
        return made[0]

    return make_door(writer=hold), made[0]


@pytest.mark.parametrize(
    ("at_close", "status", "stored"),
    [(None, 202, [GOOD]), (NotStored("purged"), 503, []), (OutcomeUnknown("no answer"), 504, [])],
    ids=["acknowledged", "purged", "unknown"],
)
def test_a_stopping_server_answers_what_it_accepted_even_if_the_writer_has_to_decide_it(
    make_door: Callable[..., Door], at_close: StreamLakeError | None, status: int, stored: list[bytes]
) -> None:
    door, held = held_door(make_door, at_close)
    with listening(door, grace_s=6) as (port, server, thread), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert held.arrived.acquire(timeout=60)
        server.should_exit = True

        answered, headers, _ = answer_of(link)
        thread.join(60)
        assert not thread.is_alive()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert (answered, headers["connection"]) == (status, "close")
    assert [r.value for r in door.everything()] == stored


def test_a_server_whose_producer_failed_stops_by_itself(make_door: Callable[..., Door]) -> None:
    door = make_door(writer=lambda _: AlwaysFails(WriterFailed("fenced")))
    with listening(door) as (port, _, thread), connected(port) as link:
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)

        assert answer_of(link)[0] == 504
        thread.join(60)
        assert not thread.is_alive()
    assert door.readiness.failure is not None
