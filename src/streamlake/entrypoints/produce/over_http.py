"""Over HTTP: each batch with an Idempotency-Key of its own, again and again until it is certain what became of it.

Anything may answer in the API's place: a proxy's page, an empty body, a list where an object should be. What is not
the API's own answer, about the very events that were sent, is a failed attempt and nothing else.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import httpx
import structlog

from streamlake.domain.model.envelope import ingestion_ids_of_batch
from streamlake.entrypoints.produce.batches import Batch
from streamlake.entrypoints.produce.checkpoint import Job
from streamlake.entrypoints.produce.results import TOO_LARGE, BatchResult, Reject
from streamlake.entrypoints.produce.room import Room
from streamlake.entrypoints.produce.run import Run

log = structlog.get_logger()

_TOO_LARGE_STATUS = 413
_PASSING = frozenset({408, 425, 429})
"""Of the client errors those that pass: the same batch under the same key may be sent again. So may every 5xx."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
ANSWER_S = 60.0
_REJECTED = {
    "malformed-json": "malformed_json",
    "contract-violation": "contract_violation",
    "too-large": TOO_LARGE,
}
"""Kinds of problems that are the event's own fault -> our word for them."""


def endpoint(url: str, dataset: str) -> httpx.URL:
    """Where batches of the dataset are sent to, for an API at `url`. Raises `ValueError` where that is none."""
    try:
        base = httpx.URL(url.rstrip("/"))
        if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
            raise ValueError("must be http:// or https:// and a host, without ? and #")
        return base.copy_with(path=f"{base.path.rstrip('/')}/v1/datasets/{dataset}/events:batch")
    except httpx.InvalidURL as invalid:
        raise ValueError(str(invalid)) from None


class HttpSender:
    """Sends batches to an API. One `at_once` keeps the order of events; more is faster over a slow network."""

    def __init__(
        self, url: httpx.URL, job: Job, schema_version: str | None, *, at_once: int, patience_s: float, run: Run
    ) -> None:
        self._url = url
        self._shown = str(url.copy_with(username=None, password=None))
        self._job = job
        self._headers = {"x-producer-service": job.producer_service, "content-type": "application/x-ndjson"}
        if schema_version is not None:
            self._headers["x-schema-version"] = schema_version
        self._patience_s = patience_s
        self._run = run
        self._room = Room(at_once)
        self._client = httpx.Client(timeout=ANSWER_S, limits=httpx.Limits(max_connections=at_once))

    def send(self, batch: Batch) -> None:
        """Waits only for room. Nothing is sent after what has failed, or the order would not be kept."""
        self._room.enter()
        if not self._run.begin(batch):
            self._room.leave()
            return
        # A daemon: the user who has had enough does not wait for a server that does not answer.
        threading.Thread(target=self._settle, args=(batch,), name="produce", daemon=True).start()

    def finish(self, within_s: float | None = None) -> None:
        """Wait for what is under way, `within_s` at most."""
        if self._room.wait_empty(within_s):
            self._client.close()

    def _settle(self, batch: Batch) -> None:
        try:
            self._run.done(batch, self._until_certain(batch))
        except Exception as fault:  # the last line of this thread, which nobody else looks at
            log.exception("produce.fault")
            self._run.done(batch, BatchResult(0, (), len(batch.events), type(fault).__name__))
        finally:
            self._room.leave()

    def _until_certain(self, batch: Batch) -> BatchResult:
        deadline = monotonic() + self._patience_s
        pause = FIRST_PAUSE_S
        while True:
            attempt = self._once(batch)
            # Jitter, so that clients turned away together do not come back together.
            wait = max(attempt.asked_s, pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(LONGEST_PAUSE_S, pause * 2)
            if not attempt.again or monotonic() + wait > deadline or self._run.failed.wait(wait):
                return attempt.result

    def _once(self, batch: Batch) -> _Attempt:
        token = self._job.token_of(batch)
        ids = ingestion_ids_of_batch(self._job.producer_service, self._job.dataset, token, len(batch.events))
        headers = {**self._headers, "idempotency-key": token}
        try:
            answer = self._client.post(self._url, content=b"\n".join(batch.events), headers=headers)
        except httpx.RequestError as lost:  # no connection, or no answer, or one that cannot be unpacked
            return _failed(batch, f"{self._shown}: {type(lost).__name__}", again=True)
        if answer.is_success:
            result = _result_of(answer, ids)
            if result is None:  # of somebody else: it says nothing of the events
                return _failed(batch, f"{answer.status_code} not an answer of this API", again=True)
            return _Attempt(result, again=result.failed > 0)
        if answer.status_code == _TOO_LARGE_STATUS and len(batch.events) == 1:
            return _Attempt(BatchResult(0, [Reject(0, TOO_LARGE, ids[0])]), again=False)
        again = answer.status_code in _PASSING or answer.is_server_error
        fault = f"{answer.status_code} {_said(answer)}".strip()
        if answer.status_code == _TOO_LARGE_STATUS:
            fault += " (a smaller --batch-size may pass)"
        return _failed(batch, fault, again=again, asked_s=_asked(answer))


class _Attempt(NamedTuple):
    """How one request went; `again`: it passes, or is unknown."""

    result: BatchResult
    again: bool
    asked_s: float = 0.0
    """As long as the server asked to be left alone."""


def _failed(batch: Batch, fault: str, *, again: bool, asked_s: float = 0.0) -> _Attempt:
    return _Attempt(BatchResult(0, (), len(batch.events), fault, hopeless=not again), again, asked_s)


def _result_of(answer: httpx.Response, ids: Sequence[str]) -> BatchResult | None:
    """What it says of the events with these ids; None where it does not speak of exactly those."""
    entries = _document(answer).get("results")
    if not isinstance(entries, list) or len(entries) != len(ids):
        return None
    accepted, failed, fault = 0, 0, ""
    rejects: list[Reject] = []
    for index, (entry, ingestion_id) in enumerate(zip(entries, ids, strict=True)):
        if not isinstance(entry, dict) or entry.get("ingestion_id") != ingestion_id:
            return None
        kind = _REJECTED.get(str(entry.get("type")).rpartition(":")[2])
        if entry.get("status") == httpx.codes.ACCEPTED:
            accepted += 1
        elif kind is None:
            failed += 1
            fault = fault or f"{entry.get('status')} {entry.get('title', '')}"
        else:
            errors = entry.get("errors")
            rejects.append(Reject(index, kind, ingestion_id, errors if isinstance(errors, list) else ()))
    return BatchResult(accepted, rejects, failed, fault)


def _said(answer: httpx.Response) -> str:
    """Why, in the words of the API; of others only where they send us."""
    if answer.is_redirect:
        return f"redirects to {answer.headers.get('location', 'nowhere')[:200]}, which is not followed"
    detail = _document(answer).get("detail")
    return str(detail)[:200] if detail else answer.reason_phrase


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    """The JSON object in its body; an empty one where there is none."""
    try:
        told = answer.json()
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _asked(answer: httpx.Response) -> float:
    """`Retry-After` in seconds; dates are not looked at."""
    asked = answer.headers.get("retry-after", "")
    return min(LONGEST_PAUSE_S, float(asked)) if asked.isascii() and asked.isdigit() else 0.0
