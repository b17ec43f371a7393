"""What the benchmarks land: valid `orders` events as the API writes them, loaded into a topic once."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence

import orjson
from confluent_kafka import KafkaError, Message, Producer

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.times import DAY_MS, rfc3339_of_ms

DATASET = "orders"
EVENT_BYTES = 281
PREPARED = 5_000
"""So many different events; each record has its own ingestion_id, key and time in the headers all the same."""

WORDS = ["please", "ring", "twice", "leave", "at", "the", "door", "gift", "wrap", "call", "before", "noon", "thanks"]
DEEPEST_NOTE = 2_000
"""The contract's limit; larger events grow by items, and beyond these by an unknown field, which contracts allow."""

PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",
    "message.max.bytes": 4 * 1024 * 1024,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
}
"""The product's own producer settings: what consumers have to unpack is made the way the API makes it."""


def order(dice: random.Random, number: int, size: int) -> tuple[bytes, bytes]:
    """One event of exactly that many bytes and its key."""
    key = f"ord-{number % 100_000:06d}"
    event = {
        "order_id": key,
        "customer_id": f"cus-{dice.randrange(10_000):05d}",
        "amount": dice.randrange(100, 100_000) / 100,
        "event_time": f"2026-01-{dice.randrange(1, 29):02d}T{dice.randrange(24):02d}:30:00Z",
    }
    if size >= EVENT_BYTES:
        event |= {
            "currency": dice.choice(["EUR", "USD", "GBP"]),
            "status": dice.choice(["placed", "paid", "shipped"]),
            "items": [
                {"sku": f"sku-{dice.randrange(1000):03d}", "quantity": dice.randrange(1, 9), "unit_price": 33.3}
                for _ in range(max(1, min(1000, (size - 190) // 60)))
            ],
        }
    field = "note" if size < DEEPEST_NOTE else "comment"
    missing = size - len(orjson.dumps(event | {field: ""}))
    if missing > 0:
        words = " ".join(dice.choices(WORDS, k=missing // 2 + 1))
        event[field] = words[:missing]
    return orjson.dumps(event), key.encode()


def load(
    bootstrap: str,
    records: int,
    *,
    size: int = EVENT_BYTES,
    dataset: str = DATASET,
    days: Sequence[int] = (0,),
) -> None:
    """Fill the topic; `days` are how many days ago the records are from, in turn. Raises RuntimeError on a loss."""
    topic = raw_topic(dataset)
    dice = random.Random(size)
    events = [order(dice, n, size) for n in range(min(PREPARED, records))]
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    lost: list[str] = []

    def report(error: KafkaError | None, _: Message[bytes, bytes]) -> None:
        if error is not None:
            lost.append(error.str())

    for n in range(records):
        value, key = events[n % len(events)]
        now_ms = int(time.time() * 1000) - days[n % len(days)] * DAY_MS
        headers: list[tuple[str, str | bytes | None]] = [
            ("dataset", dataset),
            ("schema_version", "v1"),
            ("ingestion_id", str(uuid.UUID(int=dice.getrandbits(128), version=4))),
            ("producer_service", "ingestion-api"),
            ("ingested_at", f"{rfc3339_of_ms(now_ms)[:19]}.{dice.randrange(1_000_000):06d}Z"),
        ]
        while True:
            try:
                producer.produce(topic, value, key, timestamp=now_ms, headers=headers, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 1000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left or lost:
        raise RuntimeError(f"loading {topic}: {left} unanswered, {len(lost)} refused: {lost[:1]}")
