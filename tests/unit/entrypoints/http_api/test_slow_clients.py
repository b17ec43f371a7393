"""Clients that send or read slowly, or not at all: they wait for themselves, and hold nobody up."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.unit.entrypoints.http_api.door import GOOD, Door, listening
from tests.unit.entrypoints.http_api.wire import answer_of, connected, head, until

from streamlake.entrypoints.http_api import ApiOptions, inflight
from streamlake.entrypoints.http_api.protocol import BoundedHttp

EVENTS = 10_000
BAD_BATCH = b"[" + b",".join([b"{}"] * EVENTS) + b"]"
"""30 KB, and the answer has 6 MB: more than the network's buffers take off the server's hands."""

BATCH = 100_000
SMALL = ApiOptions(
    max_event_bytes=1000, max_batch_bytes=BATCH, max_batch_events=10, max_inflight_bytes=2 * BATCH + 10 * 1024
)


@contextmanager
def a_reader_that_waits(door: Door) -> Iterator[socket.socket]:
    """It has sent the batch, and has read nothing of the answer, which is under way."""
    with listening(door) as (port, _, _), socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(60)
        link.connect(("127.0.0.1", port))
        link.sendall(head(f"content-length: {len(BAD_BATCH)}", "events:batch") + BAD_BATCH)
        link.recv(1, socket.MSG_PEEK)
        yield link


def test_an_answer_is_in_flight_until_the_client_has_taken_it(door: Door) -> None:
    with a_reader_that_waits(door) as link:
        held = (door.app.events.inflight.requests, door.app.events.inflight.bytes)
        status, headers, body = answer_of(link)
        until("the slot is free", lambda: door.app.events.inflight.requests == 0)

    assert (status, json.loads(body)["failed"]) == (207, EVENTS)
    assert held == (1, int(headers["content-length"]))
    assert door.app.events.inflight.bytes == 0


def test_a_client_that_takes_no_answer_is_cut_off_and_holds_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "send_deadline_s", 0.3)
    with a_reader_that_waits(door) as link:
        until("the slot is free", lambda: door.app.events.inflight.requests == 0)
        with pytest.raises(ConnectionError):
            answer_of(link)

    assert door.app.events.inflight.bytes == 0
    assert len(door.stored("streamlake.orders.dlq")) == EVENTS


def test_a_client_that_is_always_in_the_middle_of_its_next_request_is_not_slow(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "receive_deadline_s", 6.0)
    request = head(f"content-length: {len(GOOD)}") + GOOD
    half = len(request) // 2
    with listening(door) as (port, _, _), connected(port) as link:
        link.sendall(request[:half])
        for _ in range(2):
            link.settimeout(3.5)
            with pytest.raises(TimeoutError):
                link.recv(1)  # nothing comes, a 408 neither
            link.settimeout(60)
            link.sendall(request[half:] + request[:half])
            assert answer_of(link)[0] == 202


def test_bodies_that_do_not_arrive_leave_room_for_events_that_do(
    make_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflight, "STALLED_S", 3600.0)
    door = make_door(options=SMALL)
    with listening(door) as (port, _, _), connected(port) as stalled, connected(port) as link:
        begin_batch(door, stalled)
        link.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert answer_of(link)[0] == 202
        link.sendall(head(f"content-length: {BATCH}", "events:batch") + b"[" + b" " * (BATCH // 2))

        status, headers, _ = answer_of(link)  # one more under way would be too much, and the other has not stalled yet
    assert (status, headers["retry-after"]) == (503, "1")


def test_a_sender_that_stalls_makes_room_for_one_that_does_not(
    make_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflight, "STALLED_S", 0.0)
    door = make_door(options=SMALL)
    batch = b"[" + GOOD + b" " * (BATCH - len(GOOD) - 2) + b"]"
    with listening(door) as (port, _, _), connected(port) as stalled, connected(port) as link:
        begin_batch(door, stalled)
        link.sendall(head(f"content-length: {BATCH}", "events:batch") + batch[: BATCH // 2])
        status, headers, body = answer_of(stalled)
        link.sendall(batch[BATCH // 2 :])
        assert answer_of(link)[0] == 202
        until("nothing is in flight", lambda: door.app.events.inflight.bytes == 0)

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["type"] == "urn:streamlake:problem:overloaded"
    assert [r.value for r in door.everything()] == [GOOD]


def test_an_evicted_body_is_not_stored_though_its_rest_comes(
    make_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflight, "STALLED_S", 0.0)
    door = make_door(options=SMALL)
    with listening(door) as (port, _, _), connected(port) as stalled, connected(port) as link:
        sent = begin_batch(door, stalled)
        link.sendall(head(f"content-length: {BATCH}", "events:batch") + b"[" + b" " * (BATCH // 2))
        assert answer_of(stalled)[0] == 503
        stalled.sendall(b" " * (BATCH - sent))
        stalled.sendall(head(f"content-length: {len(GOOD)}") + GOOD)
        assert answer_of(stalled)[0] == 202
    assert [r.value for r in door.everything()] == [GOOD]


def begin_batch(door: Door, link: socket.socket) -> int:
    """All but a little of a batch: how much of it."""
    body = b"[" + b" " * (BATCH * 9 // 10)
    link.sendall(head(f"content-length: {BATCH}", "events:batch") + body)
    until("it is there", lambda: door.app.events.inflight.bytes == len(body))
    return len(body)
