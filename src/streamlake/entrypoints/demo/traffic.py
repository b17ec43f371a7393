"""What the demo sends: real flights, and events broken in every way a producer breaks them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import httpx
import msgspec

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.envelope import SCHEMA_VERSION
from streamlake.domain.model.records import Header, OutgoingRecord
from streamlake.entrypoints.flights import iter_flights

DATASET = "flights"
UNKNOWN_DATASET = "trains"
BATCH = 250
ONE_IN = 60
"""Every so many events one is broken."""


@dataclass(slots=True)
class Sent:
    """What was sent over HTTP, and how each event was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: set[tuple[int, int]] = field(default_factory=set)
    """(partition, offset) of every event answered 202."""
    lettered: list[tuple[tuple[int, int], bytes]] = field(default_factory=list)
    """Place of the dead letter, and the bytes sent, of every event answered 422."""

    @property
    def total(self) -> int:
        """Every event sent."""
        return self.statuses.total()


def events(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`(dataset, event)`: `count` real flights with a broken event after every `ONE_IN` or so."""
    chance = random.Random(seed)  # noqa: S311 - a demo's dice
    breaks = [_cut, _wrong_type, _without_key, _not_a_number, _other_dataset]
    for flight in iter_flights(count):
        yield DATASET, flight
        if chance.randrange(ONE_IN) == 0:
            yield chance.choice(breaks)(flight)


def send(client: httpx.Client, stream: Iterator[tuple[str, bytes]], sent: Sent) -> Iterator[int]:
    """Post everything in batches; yields how many events each batch had. Raises httpx errors."""
    while pairs := list(islice(stream, BATCH)):
        for dataset in (DATASET, UNKNOWN_DATASET):
            batch = [event for name, event in pairs if name == dataset]
            if batch:
                _post(client, dataset, batch, sent)
        yield len(pairs)


def poison(now_ms: int) -> list[OutgoingRecord]:
    """Records as another producer might write them, past the API: good ones without our headers, and poison."""
    topic = raw_topic(DATASET)
    good = [OutgoingRecord(topic, b"past-the-api", flight, (), now_ms) for flight in iter_flights(50)]
    unknown: list[Header] = [(SCHEMA_VERSION, b"v99")]
    flight = good[0].value or b""
    bad = [
        OutgoingRecord(topic, b"poison", b"{not json", (), now_ms),
        OutgoingRecord(topic, b"poison", None, (), now_ms),
        OutgoingRecord(topic, b"poison", b"\xff\xfe\x00", (), now_ms),
        OutgoingRecord(topic, b"poison", b"[" * 100_000, (), now_ms),
        OutgoingRecord(topic, b"poison", b'{"flight_id": NaN}', (), now_ms),
        OutgoingRecord(topic, b"poison", flight, unknown, now_ms),
        OutgoingRecord(topic, b"\xff\xff", flight, (), now_ms),
        OutgoingRecord(topic, b"poison", _wrong_type(flight)[1], (), now_ms),
    ]
    return good + bad * 5


def _post(client: httpx.Client, dataset: str, batch: Sequence[bytes], sent: Sent) -> None:
    answer = client.post(
        f"/v1/datasets/{dataset}/events:batch",
        content=b"\n".join(batch),
        headers={"Content-Type": "application/x-ndjson", "X-Producer-Service": "demo"},
    )
    if answer.status_code not in (202, 207):
        sent.statuses[answer.status_code] += len(batch)
        return
    for event, result in zip(batch, answer.json()["results"], strict=True):
        sent.statuses[result["status"]] += 1
        if result["status"] == 202:
            sent.accepted.add((result["partition"], result["offset"]))
        elif result["status"] == 422:
            letter = result["dead_letter"]
            sent.lettered.append(((letter["partition"], letter["offset"]), event))


def _cut(flight: bytes) -> tuple[str, bytes]:
    return DATASET, flight[: len(flight) // 2]


def _wrong_type(flight: bytes) -> tuple[str, bytes]:
    return DATASET, _changed(flight, distance="far")


def _without_key(flight: bytes) -> tuple[str, bytes]:
    event = msgspec.json.decode(flight)
    del event["flight_id"]
    return DATASET, json.dumps(event).encode()


def _not_a_number(flight: bytes) -> tuple[str, bytes]:
    return DATASET, flight.rstrip(b"}") + b', "note": NaN}'


def _other_dataset(flight: bytes) -> tuple[str, bytes]:
    return UNKNOWN_DATASET, flight


def _changed(flight: bytes, **fields: object) -> bytes:
    return json.dumps(msgspec.json.decode(flight) | fields).encode()
