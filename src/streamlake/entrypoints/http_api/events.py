"""The two hot routes: raw body -> IngestEvents -> one answer. No request model, no dependency, no thread hop.

    POST /v1/datasets/{dataset}/events         one JSON object
    POST /v1/datasets/{dataset}/events:batch   a JSON array, or application/x-ndjson

Refusals come in this order, the cheap ones first, all before anything is appended: 404, 405, 415, 400, 503, 413, 422.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar

import structlog
from starlette.types import Receive, Scope, Send

from streamlake.domain.errors import OutcomeUnknown, UnknownDataset
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.use_cases.ingest_events import (
    Accepted,
    EventOutcome,
    IngestEvents,
    IngestRequest,
    NotAccepted,
    Rejected,
)
from streamlake.entrypoints.http_api import bodies
from streamlake.entrypoints.http_api.answers import accepted_members, problem_of
from streamlake.entrypoints.http_api.deliveries import Deliveries
from streamlake.entrypoints.http_api.failures import Failures
from streamlake.entrypoints.http_api.heads import BATCH, Heads, Target
from streamlake.entrypoints.http_api.inflight import InFlight, Slot
from streamlake.entrypoints.http_api.options import EVENT_OVERHEAD, ApiOptions
from streamlake.entrypoints.http_api.problems import MEDIA_TYPE, Problem, Refused
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.telemetry import ApiMetrics

log = structlog.get_logger()

AT_ONCE = 200
"""Events of a batch that are judged, or answered, before other requests have their turn: of bad ones, some 10 ms."""

_LARGE_ANSWER = 16 * 1024
"""Bytes from which on an answer is waited for until the client has taken it; one of an event has 300."""

_JSON_HEADER = (b"content-type", b"application/json")
_PROBLEM_HEADER = (b"content-type", MEDIA_TYPE.encode())

R = TypeVar("R")


class Answer(NamedTuple):
    """A whole response, but for its Content-Length."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class EventRoutes:
    """The ASGI application of both routes. Lives on one event loop, which the first request tells it."""

    def __init__(
        self,
        ingest: IngestEvents,
        catalog: ContractCatalog,
        clock: Clock,
        readiness: Readiness,
        options: ApiOptions,
        metrics: ApiMetrics,
    ) -> None:
        self._ingest = ingest
        self._clock = clock
        self._options = options
        self._metrics = metrics
        self._heads = Heads(catalog, readiness, options)
        self._slicer = bodies.BatchSlicer(options.max_batch_events)
        self._failures = Failures(metrics, readiness)
        self._deliveries: Deliveries | None = None
        self.inflight = InFlight(options)

    def target(self, path: str) -> Target | None:
        """What the path names, known dataset or not; None where it is no path of these routes."""
        return self._heads.target(path)

    async def handle(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of these routes."""
        began = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        slot: Slot | None = None
        try:
            try:
                media = self._heads.media_type(target, scope, headers)
                request = self._heads.request(target.dataset, scope, headers)
                slot = self.inflight.enter()
                answer = await self._answer(target, request, headers, media, receive, slot)
            except Refused as refused:
                answer = _refusal(refused.problem, headers)
            except bodies.ClientGone:
                return
            except Exception:
                log.exception("api.fault", dataset=target.dataset if target.known else None)
                answer = _refusal(Problem("internal", "The fault is in the log."), headers)
            if slot is not None:
                slot.answer(len(answer.body))
            await _send(answer, send)
        finally:
            if slot is not None:
                slot.leave()
        self._metrics.answered(target.endpoint, answer.status, perf_counter() - began)

    async def _answer(
        self,
        target: Target,
        request: IngestRequest,
        headers: Mapping[bytes, bytes],
        media: str,
        receive: Receive,
        slot: Slot,
    ) -> Answer:
        batch = target.endpoint == BATCH
        try:
            limit = self._options.max_batch_bytes if batch else self._options.max_event_bytes
            body = await self._read(receive, headers, limit, slot)
            if not batch:
                slot.grow(EVENT_OVERHEAD)
                return self._single(request, await self._settled(partial(self._ingest.ingest, request, body)))
            events = self._slicer.slice(body, media)
            # The slices are a second copy of the body (`ApiOptions` counts on it).
            slot.grow(len(body) + len(events) * EVENT_OVERHEAD)
            return await self._batch(request, await self._settled_batch(request, events))
        except UnknownDataset as unknown:
            raise Refused(Problem("unknown-dataset", str(unknown))) from None
        except _CutOff:
            return self._cut_off(request)

    async def _read(self, receive: Receive, headers: Mapping[bytes, bytes], limit: int, slot: Slot) -> bytes:
        try:
            return await bodies.read_body(receive, headers.get(b"content-length"), limit, slot)
        except asyncio.CancelledError:
            if slot.evicted:
                raise Refused(self.inflight.overloaded) from None
            # The server is cut off at the end of its grace period, and has not handed anything over.
            raise Refused(Problem("not-ready", "The server is shutting down; nothing was stored.")) from None

    async def _settled(self, begin: Callable[..., None]) -> EventOutcome:
        future: asyncio.Future[EventOutcome] = self._begun(begin, self._clock.now())
        try:
            return await future
        except asyncio.CancelledError:
            raise _CutOff from None

    async def _settled_batch(self, request: IngestRequest, events: Sequence[bytes]) -> list[EventOutcome]:
        futures: list[asyncio.Future[Sequence[EventOutcome]]] = []
        ingest, now = self._ingest.ingest_batch, self._clock.now()
        outcomes: list[EventOutcome] = []
        try:
            for first in range(0, len(events), AT_ONCE):
                if first:
                    await asyncio.sleep(0)
                some = events[first : first + AT_ONCE]
                futures.append(self._begun(partial(ingest, request, some, first=first), now))
            for future in futures:
                outcomes += await future
        except asyncio.CancelledError:
            raise _CutOff from None
        return outcomes

    def _begun(self, begin: Callable[..., None], now: datetime) -> asyncio.Future[R]:
        loop = asyncio.get_running_loop()
        if self._deliveries is None:
            self._deliveries = Deliveries(loop)
        future: asyncio.Future[R] = loop.create_future()
        begin(now, partial(self._deliveries.deliver, future))
        return future

    def _single(self, request: IngestRequest, outcome: EventOutcome) -> Answer:
        key = (b"idempotency-key", request.token.encode("ascii"))
        if isinstance(outcome, Accepted):
            self._metrics.settled(request.dataset, "accepted")
            members = accepted_members(request.dataset, outcome)
            return Answer(202, (_JSON_HEADER, key), f"{{{members}}}".encode("ascii"))
        self._failures.tell(request.dataset, [outcome])
        problem = self._problem(request, outcome)
        return Answer(problem.status, (_PROBLEM_HEADER, key, *problem.headers), problem.body())

    async def _batch(self, request: IngestRequest, outcomes: Sequence[EventOutcome]) -> Answer:
        """Each entry is what the event alone would have been answered with, and its status."""
        entries: list[str] = []
        failed: list[Rejected | NotAccepted] = []
        for index, outcome in enumerate(outcomes):
            if index % AT_ONCE == AT_ONCE - 1:
                with suppress(asyncio.CancelledError):  # also where it is cut off here: what is known is told
                    await asyncio.sleep(0)
            if isinstance(outcome, Accepted):
                entries.append(f'{{"status":202,{accepted_members(request.dataset, outcome)}}}')
            else:
                failed.append(outcome)
                entries.append(self._problem(request, outcome).body().decode())
        accepted = len(outcomes) - len(failed)
        if failed:
            self._failures.tell(request.dataset, failed)
        if accepted:
            self._metrics.settled(request.dataset, "accepted", accepted)
        counts = f'"dataset":"{request.dataset}","accepted":{accepted},"failed":{len(failed)}'
        body = f'{{{counts},"results":[{",".join(entries)}]}}'
        key = (b"idempotency-key", request.token.encode("ascii"))
        return Answer(207 if failed else 202, (_JSON_HEADER, key), body.encode())

    def _problem(self, request: IngestRequest, outcome: Rejected | NotAccepted) -> Problem:
        return problem_of(outcome, request.dataset, request.token, self._options.retry_after_s)

    def _cut_off(self, request: IngestRequest) -> Answer:
        """The grace period ended before the writer decided: to the client that is an unknown outcome."""
        log.error("not_accepted", dataset=request.dataset, outcome="unknown", error_class=OutcomeUnknown.__name__)
        told = {"dataset": request.dataset, "idempotency_key": request.token}
        problem = Problem("outcome-unknown", "The server shut down before the log answered.", told)
        key = (b"idempotency-key", request.token.encode("ascii"))
        return Answer(problem.status, (_PROBLEM_HEADER, key), problem.body())


class _CutOff(Exception):
    """The request was cancelled after its events were handed to the writer."""


async def _send(answer: Answer, send: Send) -> None:
    body = answer.body
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
    if len(body) > _LARGE_ANSWER:
        # The server waits before a message, not after it, for the client to take what there is.
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body})


def _refusal(problem: Problem, headers: Mapping[bytes, bytes]) -> Answer:
    close: tuple[tuple[bytes, bytes], ...] = ()
    if b"expect" in headers:
        # A client that waits for `100 Continue` never sends the body it announced, and the parser would take the next
        # request on this connection for that body.
        close = ((b"connection", b"close"),)
    return Answer(problem.status, (_PROBLEM_HEADER, *problem.headers, *close), problem.body())
