"""What was sent, what was answered, and whether the log agrees: attempt by attempt."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.envelope import ingestion_id_of_request
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.event_log import LogAdmin, LogReader

SERVICE = "torture-http"
NO_ANSWER = 0
"""The connection broke: as unknown as a 504."""
STORED, NOT_STORED, UNKNOWN = (202, 422), (503, 413), (504, NO_ANSWER)
SHOWN = 5


class Attempt(NamedTuple):
    """One event, sent for the n-th time. Its body names it, so the log can be asked for exactly this attempt."""

    event: int
    number: int


class Found(NamedTuple):
    """A record of the log."""

    topic: str
    partition: int
    offset: int
    value: bytes
    ingestion_id: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the API said of one attempt."""

    status: int
    body: bytes
    expected_id: str
    ingestion_id: str | None = None
    place: tuple[str, int, int] | None = None


def event_body(attempt: Attempt, key: str, *, broken: str | None) -> bytes:
    """An order that names its attempt; `broken` makes it a violation, or no JSON at all."""
    amount = '"none"' if broken == "violation" else "1.50"
    end = "" if broken == "malformed" else "}"
    mark = f'"event":{attempt.event},"attempt":{attempt.number}'
    when = '"event_time":"2026-01-01T00:00:00Z"'
    return f'{{"order_id":"{key}", "customer_id":"c","amount":{amount},{when},{mark}{end}'.encode()


@dataclass
class Ledger:
    """Every attempt and its answer. Used on the client's thread only."""

    dataset: str
    said: dict[Attempt, Said] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    http: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    settled: int = 0
    doubled: int = 0
    """Attempts that are in the log twice or more, the same bytes under the same id: after records that timed out,
    librdkafka sends those in flight again under a new epoch, by which the broker cannot tell them (its issue 4953)."""

    def note(self, attempt: Attempt, body: bytes, token: str, index: int | None, status: int, told: Any) -> None:
        """One answer, `told` its document or its entry of a batch."""
        expected = ingestion_id_of_request(SERVICE, self.dataset, token, index)
        self.statuses[status] += 1
        place = told.get("dead_letter", told)
        at = (place["topic"], place["partition"], place["offset"]) if status in STORED else None
        self.said[attempt] = Said(status, body, expected, told.get("ingestion_id"), at)

    def verdict(self, log: Mapping[Attempt, Sequence[Found]]) -> list[str]:
        """Every promise that did not hold."""
        wrong: dict[str, list[Attempt]] = defaultdict(list)
        for attempt, said in self.said.items():
            if what := _complaint(said, log.get(attempt, ())):
                wrong[what].append(attempt)
        wrong["in the log and never sent"] += log.keys() - self.said.keys()
        twice = [attempt for attempt in self.said if len(log.get(attempt, ())) > 1]
        self.doubled = len(twice)
        if not self.statuses[504]:
            wrong["in the log twice, though nothing timed out"] += twice
        return self.broken + [f"{what}: {len(who)}, first {who[:SHOWN]}" for what, who in wrong.items() if who]


def _complaint(said: Said, found: Sequence[Found]) -> str | None:
    if said.ingestion_id is not None and said.ingestion_id != said.expected_id:
        return f"answered {said.status} with another ingestion id than its Idempotency-Key gives"
    if any(record.ingestion_id != said.expected_id or record.value != said.body for record in found):
        return "in the log with another id or other bytes"
    if said.status in STORED and said.place not in [record[:3] for record in found]:
        return f"answered {said.status} and not in the log where the answer says"
    if said.status in NOT_STORED and found:
        return f"answered {said.status} and in the log"
    if said.status not in (*STORED, *NOT_STORED, *UNKNOWN):
        return f"answered {said.status}, which should not happen here"
    return None


def read_log(admin: LogAdmin, reader: LogReader, dataset: str) -> Mapping[Attempt, Sequence[Found]]:
    """Both topics of a dataset, record by record."""
    log: dict[Attempt, list[Found]] = defaultdict(list)
    for topic in (raw_topic(dataset), dlq_topic(dataset)):
        lanes = [TopicPartition(topic, n) for n in range(admin.topics([topic])[topic].partitions)]
        for lane, mark in admin.watermarks(lanes).items():
            for batch in reader.read(lane, mark.low, mark.high):
                rows = zip(batch.offsets, batch.values, batch.headers, strict=True)
                for offset, value, headers in rows:
                    found = Found(topic, lane.partition, offset, value or b"", _id_of(headers))
                    log[_attempt_of(found.value)].append(found)
    return log


def _id_of(headers: Iterable[tuple[str, bytes | None]]) -> str:
    return (dict(headers)["ingestion_id"] or b"").decode()


def _attempt_of(body: bytes) -> Attempt:
    told = json.loads(body if body.endswith(b"}") else body + b"}")
    return Attempt(told["event"], told["attempt"])
