"""The two hot routes: raw body -> IngestEvents -> one answer. No request model, no dependency, no thread hop.

    POST /v1/datasets/{dataset}/events         one JSON object
    POST /v1/datasets/{dataset}/events:batch   a JSON array, or application/x-ndjson

Refusals come in this order, the cheap ones first, all before anything is appended: 404, 405, 415, 400, 503, 413, 422.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs

import structlog
from starlette.types import Receive, Scope, Send

from streamlake.domain.errors import OutcomeUnknown, UnknownDataset
from streamlake.domain.model.contracts import DATASET_NAME
from streamlake.domain.model.envelope import IDEMPOTENCY_KEY, PRODUCER_SERVICE_NAME
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
from streamlake.entrypoints.http_api.inflight import InFlight, Slot
from streamlake.entrypoints.http_api.options import EVENT_OVERHEAD, ApiOptions
from streamlake.entrypoints.http_api.problems import MEDIA_TYPE, Problem, Refused
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.telemetry import ApiMetrics

log = structlog.get_logger()

PREFIX = "/v1/datasets/"
SINGLE = "events"
BATCH = "events:batch"

TOKEN = re.compile(IDEMPOTENCY_KEY.pattern.encode())
SERVICE = re.compile(PRODUCER_SERVICE_NAME.pattern.encode())
VERSION = re.compile(r"v[1-9][0-9]{0,3}")

_LARGE_ANSWER = 16 * 1024
"""Bytes from which on an answer is waited for until the client has taken it; one of an event has 300."""

_JSON_HEADER = (b"content-type", b"application/json")
_PROBLEM_HEADER = (b"content-type", MEDIA_TYPE.encode())

R = TypeVar("R")


class Target(NamedTuple):
    """What a path names: a dataset, and one event or many."""

    dataset: str
    endpoint: str
    known: bool
    """Is there such a dataset?"""


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
        self._catalog = catalog
        self._clock = clock
        self._readiness = readiness
        self._options = options
        self._metrics = metrics
        self._targets = {
            f"{PREFIX}{dataset}/{endpoint}": Target(dataset, endpoint, known=True)
            for dataset in catalog.datasets()
            for endpoint in (SINGLE, BATCH)
        }
        self._slicer = bodies.BatchSlicer(options.max_batch_events)
        self._failures = Failures(metrics, readiness)
        self._deliveries: Deliveries | None = None
        self.inflight = InFlight(options)

    def target(self, path: str) -> Target | None:
        """What the path names, known dataset or not; None where it is no path of these routes."""
        found = self._targets.get(path)
        if found is None and path.startswith(PREFIX):
            dataset, _, endpoint = path[len(PREFIX) :].partition("/")
            if endpoint in (SINGLE, BATCH):
                return Target(dataset, endpoint, known=False)
        return found

    async def handle(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of these routes."""
        began = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        slot: Slot | None = None
        try:
            try:
                media = self._check(target, scope, headers)
                request = self._request(target.dataset, scope, headers)
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
            return self._batch(request, await self._settled(partial(self._ingest.ingest_batch, request, events)))
        except UnknownDataset as unknown:
            raise Refused(Problem("unknown-dataset", str(unknown))) from None
        except _CutOff:
            return self._cut_off(request)

    def _check(self, target: Target, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        if not target.known:
            # Only what can be a dataset's name is said back.
            named = f" {target.dataset}" if DATASET_NAME.fullmatch(target.dataset) else ""
            raise Refused(Problem("unknown-dataset", f"There is no dataset{named}; GET /v1/datasets lists them."))
        if scope["method"] != "POST":
            raise Refused(Problem("method-not-allowed", "Events are sent with POST.", headers=((b"allow", b"POST"),)))
        media = bodies.media_type(headers.get(b"content-type"))
        if media is None or (media == bodies.NDJSON and target.endpoint != BATCH):
            also = " or application/x-ndjson" if target.endpoint == BATCH else ""
            raise Refused(Problem("unsupported-media-type", f"Content-Type must be application/json{also}, in UTF-8."))
        if b"content-encoding" in headers:
            raise Refused(Problem("unsupported-media-type", "Bodies are taken as they are: no Content-Encoding."))
        return media

    def _request(self, dataset: str, scope: Scope, headers: Mapping[bytes, bytes]) -> IngestRequest:
        token = headers.get(b"idempotency-key")
        if token is not None and not TOKEN.fullmatch(token):
            raise _invalid("Idempotency-Key must be 1 to 200 printable ASCII characters.")
        service = headers.get(b"x-producer-service")
        if service is not None and not SERVICE.fullmatch(service):
            raise _invalid("X-Producer-Service must be 1 to 100 of the characters A-Z a-z 0-9 . _ -")
        version = self._version(scope["query_string"], headers.get(b"x-schema-version"))
        refusal = self._readiness.refusal(dataset)
        if refusal is not None:
            again = ((b"retry-after", b"%d" % self._options.retry_after_s),)
            raise Refused(Problem("not-ready", "The event log cannot take events now; /readyz says why.", {}, again))
        return IngestRequest(
            dataset,
            version,
            self._options.producer_service if service is None else service.decode("ascii"),
            secrets.token_hex(16) if token is None else token.decode("ascii"),
        )

    def _version(self, query: bytes, header: bytes | None) -> str | None:
        if not query and header is None:
            return None
        named = set(
            parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=None).get("schema_version", [])
        )
        if header is not None:
            named.add(header.decode("latin-1"))
        if not named:
            return None
        version = named.pop()
        if named or not VERSION.fullmatch(version):
            raise _invalid("schema_version (or X-Schema-Version) must be one version, such as v1.")
        return version

    async def _read(self, receive: Receive, headers: Mapping[bytes, bytes], limit: int, slot: Slot) -> bytes:
        try:
            return await bodies.read_body(receive, headers.get(b"content-length"), limit, slot)
        except asyncio.CancelledError:
            if slot.evicted:
                raise Refused(self.inflight.overloaded) from None
            # The server is cut off at the end of its grace period, and has not handed anything over.
            raise Refused(Problem("not-ready", "The server is shutting down; nothing was stored.")) from None

    async def _settled(self, begin: Callable[..., None]) -> R:
        loop = asyncio.get_running_loop()
        if self._deliveries is None:
            self._deliveries = Deliveries(loop)
        future: asyncio.Future[R] = loop.create_future()
        begin(self._clock.now(), partial(self._deliveries.deliver, future))
        try:
            return await future
        except asyncio.CancelledError:
            raise _CutOff from None

    def _single(self, request: IngestRequest, outcome: EventOutcome) -> Answer:
        key = (b"idempotency-key", request.token.encode("ascii"))
        if isinstance(outcome, Accepted):
            self._metrics.settled(request.dataset, "accepted")
            members = accepted_members(request.dataset, outcome)
            return Answer(202, (_JSON_HEADER, key), f"{{{members}}}".encode("ascii"))
        self._failures.tell(request.dataset, [outcome])
        problem = self._problem(request, outcome)
        return Answer(problem.status, (_PROBLEM_HEADER, key, *problem.headers), problem.body())

    def _batch(self, request: IngestRequest, outcomes: Sequence[EventOutcome]) -> Answer:
        """Each entry is what the event alone would have been answered with, and its status."""
        entries: list[str] = []
        failed: list[Rejected | NotAccepted] = []
        for outcome in outcomes:
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


def _invalid(detail: str) -> Refused:
    return Refused(Problem("invalid-request", detail))
