"""Over HTTP: each batch with an Idempotency-Key of its own, again and again until it is certain what became of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NamedTuple

import httpx

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.produce.batches import Batch
from streamlake.entrypoints.produce.results import BatchResult, Reject
from streamlake.entrypoints.produce.run import Run

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Passing, or unknown: the same batch under the same key may be sent again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
ANSWER_S = 60.0
_REJECTED = {
    "malformed-json": "malformed_json",
    "contract-violation": "contract_violation",
    "too-large": "too_large",
}
"""Kinds of problems that are the event's own fault -> our word for them."""


class HttpSender:
    """Sends batches to an API. One `at_once` keeps the order of events; more is faster over a slow network."""

    def __init__(
        self,
        url: str,
        dataset: str,
        headers: Mapping[str, str],
        token: str,
        *,
        at_once: int,
        patience_s: float,
        run: Run,
    ) -> None:
        base = url.rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise SettingsInvalid(f"--url: must begin with http:// or https://, is {url}")
        self._url = f"{base}/v1/datasets/{dataset}/events:batch"
        self._headers = {**headers, "content-type": "application/x-ndjson"}
        self._token = token
        self._patience_s = patience_s
        self._run = run
        self._at_once = at_once
        self._room = threading.BoundedSemaphore(at_once)
        self._pool = ThreadPoolExecutor(at_once, "produce")
        self._client = httpx.Client(timeout=ANSWER_S, limits=httpx.Limits(max_connections=at_once))

    def send(self, batch: Batch) -> None:
        """Waits only for room."""
        self._room.acquire()
        self._pool.submit(self._settle, batch)

    def finish(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()
        self._client.close()

    def _settle(self, batch: Batch) -> None:
        try:
            self._run.done(batch, self._until_certain(batch))
        finally:
            self._room.release()

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
        headers = {**self._headers, "idempotency-key": f"{self._token}:{batch.place.batch}"}
        try:
            answer = self._client.post(self._url, content=b"\n".join(batch.events), headers=headers)
            told = answer.json()
        except httpx.TransportError as lost:
            return _failed(batch, f"{self._url}: {type(lost).__name__}", again=True)
        except ValueError:
            told = {}
        if answer.status_code in (202, 207) and len(told.get("results", ())) == len(batch.events):
            result = _result_of(told["results"])
            return _Attempt(result, again=result.failed > 0)
        # 2xx of somebody else's (a proxy's page) says nothing of the events.
        again = answer.status_code in AGAIN or answer.status_code < 400
        detail = str(told.get("detail", ""))[:200] if answer.status_code >= 400 else "not an answer of this API"
        return _failed(batch, f"{answer.status_code} {detail}".strip(), again=again, asked_s=_asked(answer))


class _Attempt(NamedTuple):
    """How one request went; `again`: it passes, or is unknown."""

    result: BatchResult
    again: bool
    asked_s: float = 0.0
    """As long as the server asked to be left alone."""


def _failed(batch: Batch, fault: str, *, again: bool, asked_s: float = 0.0) -> _Attempt:
    return _Attempt(BatchResult(0, (), len(batch.events), fault), again, asked_s)


def _result_of(entries: Sequence[Mapping[str, Any]]) -> BatchResult:
    accepted, failed, fault = 0, 0, ""
    rejects: list[Reject] = []
    for index, entry in enumerate(entries):
        if entry["status"] == 202:
            accepted += 1
            continue
        kind = _REJECTED.get(str(entry.get("type", "")).rpartition(":")[2])
        if kind is None:
            failed += 1
            fault = fault or f"{entry['status']} {entry.get('title', '')}"
        else:
            rejects.append(Reject(index, kind, str(entry["ingestion_id"]), entry.get("errors", ())))
    return BatchResult(accepted, rejects, failed, fault)


def _asked(answer: httpx.Response) -> float:
    """`Retry-After` in seconds; dates are not looked at."""
    asked = answer.headers.get("retry-after", "")
    return min(LONGEST_PAUSE_S, float(asked)) if asked.isascii() and asked.isdigit() else 0.0
