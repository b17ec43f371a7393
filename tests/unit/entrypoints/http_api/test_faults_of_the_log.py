"""503 only where certainly not stored, 504 where nobody knows, 413 for what no log takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from tests.unit.entrypoints.http_api.door import GOOD, JSON, AlwaysFails, Door, Held

from streamlake.domain.errors import (
    AccessDenied,
    LogUnavailable,
    NotStored,
    OutcomeUnknown,
    RecordTooLarge,
    StreamLakeError,
    TopicMissing,
    WriterFailed,
)
from streamlake.domain.ports.event_log import LogWriter
from streamlake.entrypoints.http_api import ApiOptions
from streamlake.entrypoints.http_api.deliveries import Deliveries

EVENTS = "/v1/datasets/orders/events"
BATCH = "/v1/datasets/orders/events:batch"

STATUS_OF_FAULT = [
    (NotStored("queue full"), 503, "not-stored"),
    (TopicMissing("streamlake.orders.raw"), 503, "not-stored"),
    (AccessDenied("no ACL on broker-7"), 503, "not-stored"),
    (OutcomeUnknown("timed out"), 504, "outcome-unknown"),
    (LogUnavailable("broker-7 went away"), 504, "outcome-unknown"),
    (WriterFailed("fenced"), 504, "outcome-unknown"),
    (RecordTooLarge("MSG_SIZE_TOO_LARGE"), 413, "too-large"),
]


@pytest.mark.parametrize(("fault", "status", "kind"), STATUS_OF_FAULT, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("body", [GOOD, b"{broken"], ids=["event", "letter"])
def test_the_status_says_whether_a_failed_append_may_be_in_the_log(
    make_door: Callable[..., Door], fault: StreamLakeError, status: int, kind: str, body: bytes
) -> None:
    door = make_door(writer=lambda _: AlwaysFails(fault))
    with capture_logs() as lines:
        answer = door.post(EVENTS, body, {**JSON, "idempotency-key": "again"})

    told = answer.json()
    assert (answer.status_code, told["type"]) == (status, f"urn:streamlake:problem:{kind}")
    assert (told["idempotency_key"], answer.headers["idempotency-key"]) == ("again", "again")
    assert ("retry-after" in answer.headers) == (status == 503)
    assert str(fault) not in answer.text  # names of brokers and topics are for the log
    line = next(each for each in lines if each["event"] == "not_accepted")
    assert (line["error_class"], line["error"], line["ingestion_id"]) == (
        type(fault).__name__,
        str(fault),
        told["ingestion_id"],
    )


def test_a_failed_producer_makes_the_process_unready_for_good(make_door: Callable[..., Door]) -> None:
    writer = AlwaysFails(WriterFailed("fenced"))
    door = make_door(writer=lambda _: writer)

    assert door.post(EVENTS).status_code == 504
    door.readiness.probe()
    assert door.readiness.failure is not None
    assert door.request("GET", "/readyz").status_code == 503
    assert door.post(EVENTS).status_code == 503
    assert writer.appended == 1


def test_one_failed_append_makes_nothing_unready(make_door: Callable[..., Door]) -> None:
    door = make_door(writer=lambda _: AlwaysFails(OutcomeUnknown("timed out")))

    assert door.post(EVENTS).status_code == 504
    assert door.request("GET", "/readyz").status_code == 200


def test_past_the_bound_of_requests_the_answer_is_503_at_once(make_door: Callable[..., Door]) -> None:
    held: list[Held] = []

    def hold(behind: LogWriter) -> LogWriter:
        held.append(Held(behind))
        return held[0]

    door = make_door(writer=hold, options=ApiOptions(max_inflight_requests=2, retry_after_s=7))

    async def scenario() -> list[int]:
        waiting = [asyncio.create_task(door.ask("POST", EVENTS, content=GOOD, headers=JSON)) for _ in range(2)]
        await asyncio.to_thread(lambda: [held[0].arrived.acquire() for _ in waiting])
        refused = await door.ask("POST", EVENTS, content=GOOD, headers=JSON)
        assert refused.headers["retry-after"] == "7"
        assert refused.json()["type"] == "urn:streamlake:problem:overloaded"
        await asyncio.to_thread(held[0].release)
        answers = await asyncio.gather(*waiting)
        return [refused.status_code, *(a.status_code for a in answers)]

    assert door.run(scenario()) == [503, 202, 202]
    assert len(door.everything()) == 2
    assert (door.app.events.inflight.requests, door.app.events.inflight.bytes) == (0, 0)


def test_past_the_bound_of_bytes_the_answer_is_503_and_the_bytes_are_given_back(
    make_door: Callable[..., Door],
) -> None:
    held: list[Held] = []

    def hold(behind: LogWriter) -> LogWriter:
        held.append(Held(behind))
        return held[0]

    bounds = ApiOptions(max_event_bytes=200, max_batch_bytes=200, max_batch_events=4, max_inflight_bytes=4496)
    door = make_door(writer=hold, options=bounds)
    batch = b"[" + b",".join([GOOD] * 4) + b"]"

    async def scenario() -> list[int]:
        statuses = []
        for _ in range(2):
            first = asyncio.create_task(door.ask("POST", BATCH, content=batch, headers=JSON))
            await asyncio.to_thread(held[0].arrived.acquire)
            statuses.append((await door.ask("POST", EVENTS, content=GOOD, headers=JSON)).status_code)
            await asyncio.to_thread(held[0].release)
            statuses.append((await first).status_code)
        return statuses

    assert door.run(scenario()) == [503, 202, 503, 202]
    assert len(door.everything()) == 8
    assert (door.app.events.inflight.requests, door.app.events.inflight.bytes) == (0, 0)


def test_a_bound_of_bytes_that_no_largest_batch_could_pass_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"max_inflight_bytes: must be >= 43794432 .* is 33554432"):
        ApiOptions(max_inflight_bytes=32 * 1024 * 1024)


def test_many_outcomes_from_another_thread_reach_the_loop_in_one_wake_up() -> None:
    async def scenario() -> tuple[list[int], int]:
        loop = asyncio.get_running_loop()
        wake_ups = 0
        schedule = loop.call_soon_threadsafe

        def counted(*given: object, **named: object) -> object:
            nonlocal wake_ups
            wake_ups += 1
            return schedule(*given, **named)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counted  # type: ignore[assignment, method-assign]
        deliveries = Deliveries(loop)
        futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(1000)]

        def tell() -> None:
            for n, future in enumerate(futures):
                deliveries.deliver(future, n)

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()  # the loop cannot run meanwhile: all thousand wait for it together
        return list(await asyncio.gather(*futures)), wake_ups

    assert asyncio.run(scenario()) == (list(range(1000)), 1)
