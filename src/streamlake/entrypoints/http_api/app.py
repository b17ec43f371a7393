"""The application: FastAPI, with the event routes in front of its machinery."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.use_cases.ingest_events import IngestEvents
from streamlake.entrypoints.http_api import openapi
from streamlake.entrypoints.http_api.catalog import add_catalog_routes
from streamlake.entrypoints.http_api.docs_page import add_docs_page
from streamlake.entrypoints.http_api.events import EventRoutes
from streamlake.entrypoints.http_api.options import ApiOptions
from streamlake.entrypoints.http_api.problems import MEDIA_TYPE, Problem, Refused, framework_problem
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.telemetry import EXPOSITION_TYPE, ApiMetrics


class FrontDoor(FastAPI):
    """FastAPI, but that a request for an event route goes straight to it: middleware, routing and dependencies cost
    as much as validating the event."""

    def __init__(
        self, events: EventRoutes, catalog: ContractCatalog, readiness: Readiness, options: ApiOptions, **given: Any
    ) -> None:
        super().__init__(**given)
        self.events = events
        self.readiness = readiness
        self._catalog = catalog
        self._options = options
        self._document: dict[str, Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http":
            target = self.events.target(scope["path"])
            if target is not None:
                await self.events.handle(target, scope, receive, send)
                return
            if scope["method"] == "HEAD":
                # As GET (RFC 9110, 9.3.2); the server, which knows better, sends no body.
                scope = {**scope, "method": "GET"}
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The whole OpenAPI document, made once."""
        if self._document is None:
            self._document = openapi.complete(super().openapi(), self._catalog, self._options)
        return self._document


def create_app(
    ingest: IngestEvents,
    catalog: ContractCatalog,
    clock: Clock,
    readiness: Readiness,
    options: ApiOptions,
    metrics: ApiMetrics,
) -> FrontDoor:
    """The HTTP API over these parts. It starts nothing and closes nothing: who made the parts does."""
    events = EventRoutes(ingest, catalog, clock, readiness, options, metrics)
    app = FrontDoor(
        events,
        catalog,
        readiness,
        options,
        title="StreamLake ingestion",
        version="1",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_exception,
            RequestValidationError: _invalid_parameter,
            Exception: _fault,
        },
    )
    add_catalog_routes(app, catalog)
    add_docs_page(app)
    _add_probes(app, readiness, events, metrics)
    return app


def _add_probes(app: FastAPI, readiness: Readiness, events: EventRoutes, metrics: ApiMetrics) -> None:
    @app.get("/livez", tags=["operation"], summary="Is the process alive?", response_class=Response)
    async def livez() -> Response:
        return _json(200, {"alive": True})

    @app.get(
        "/readyz",
        tags=["operation"],
        summary="Can every dataset take events?",
        response_class=Response,
        responses={503: {"description": "No, and why; datasets not named are served all the same"}},
    )
    async def readyz() -> Response:
        report = readiness.report()
        body = {"ready": report.ready, "reasons": report.reasons, "datasets": dict(report.datasets)}
        return _json(200 if report.ready else 503, body)

    @app.get("/metrics", tags=["operation"], summary="Prometheus metrics of all workers", response_class=Response)
    async def metrics_page() -> Response:
        metrics.state(
            inflight_requests=events.inflight.requests,
            inflight_bytes=events.inflight.bytes,
            ready=readiness.report().ready,
        )
        return Response(metrics.exposition(), headers={"content-type": EXPOSITION_TYPE})


def _json(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _respond(problem: Problem) -> Response:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body(), problem.status, headers, MEDIA_TYPE)


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101 - FastAPI's handlers are typed for any exception
    return _respond(refused.problem)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return _respond(Problem("not-found", "Nothing lives at this path; /docs shows what there is."))
    if error.status_code == 405:
        allowed = tuple((b"allow", _allowed(value)) for name, value in headers.items() if name.lower() == "allow")
        return _respond(Problem("method-not-allowed", "This path takes other methods.", headers=allowed))
    return Response(framework_problem(error.status_code), error.status_code, headers, MEDIA_TYPE)


def _allowed(methods: str) -> bytes:
    return b"GET, HEAD" if methods == "GET" else methods.encode()


async def _invalid_parameter(_: Request, __: Exception) -> Response:
    return _respond(Problem("invalid-request", "A parameter is not valid; /docs shows what is."))


async def _fault(_: Request, __: Exception) -> Response:
    """The answer to what should not have happened. Starlette raises it again, and so it is logged."""
    return _respond(Problem("internal", "The fault is in the log."))
