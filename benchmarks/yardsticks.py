"""What StreamLake is measured against, each a process of its own.

    python -m benchmarks.yardsticks consume BOOTSTRAP TOPIC PARTITIONS RECORDS
    python -m benchmarks.yardsticks bare BOOTSTRAP TOPIC PARTITIONS RECORDS

`consume` does nothing with the records: no reader in Python is faster. `bare` is the loop everybody writes first:
consume, an orjson envelope, gzip level 1, parts of 8 MiB uploaded by Google's client, one commit at the end. It
validates nothing, knows no dead letters, and loses or repeats records at every fault; that is what it costs without.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import orjson
from confluent_kafka import Consumer, Message, TopicPartition
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from benchmarks.processes import say

PART_BYTES = 8 * 1024 * 1024
AT_ONCE = 10_000
GZIP = 16 + zlib.MAX_WBITS


def opened(bootstrap: str, topic: str, partitions: int) -> Consumer:
    """A consumer at the start of every partition."""
    settings = {"group.id": "streamlake-bench", "enable.auto.commit": False, "auto.offset.reset": "error"}
    consumer = Consumer({"bootstrap.servers": bootstrap, **settings})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
    return consumer


def messages(consumer: Consumer, records: int) -> Iterator[list[Message]]:
    """All of them, in the lists that `consume` returns."""
    say("reading")
    read = 0
    while read < records:
        found = consumer.consume(AT_ONCE, 1)
        if any(map(Message.error, found)):
            raise RuntimeError(f"consume: {next(filter(None, map(Message.error, found)))}")
        read += len(found)
        yield found


def consume(bootstrap: str, topic: str, partitions: int, records: int) -> None:
    """Only read."""
    for _ in messages(opened(bootstrap, topic, partitions), records):
        pass
    say("committed")


def bare(bootstrap: str, topic: str, partitions: int, records: int) -> None:
    """Read, wrap, compress, upload."""
    consumer = opened(bootstrap, topic, partitions)
    bucket = storage.Client(project="bench", credentials=AnonymousCredentials()).bucket("bench")
    packed: list[bytes] = []
    packer = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    parts = 0

    def upload() -> None:
        nonlocal packer, parts
        parts += 1
        blob = bucket.blob(f"raw/bare/part-{parts:04d}.json.gz")
        body = b"".join([*packed, packer.flush()])
        blob.upload_from_string(body, "application/gzip", if_generation_match=0)
        packer = zlib.compressobj(1, zlib.DEFLATED, GZIP)
        packed.clear()

    for found in messages(consumer, records):
        packed.append(packer.compress(b"".join(map(envelope, found))))
        if sum(map(len, packed)) >= PART_BYTES:
            upload()
    upload()
    ends = consumer.position([TopicPartition(topic, n) for n in range(partitions)])
    consumer.commit(offsets=ends, asynchronous=False)
    say("committed", parts=parts)


def envelope(message: Message) -> bytes:
    """The same envelope as StreamLake's."""
    pairs = cast(list[tuple[str, bytes]], message.headers())
    headers = {name: value.decode() for name, value in pairs}
    key = message.key()
    return orjson.dumps(
        {
            "dataset": headers["dataset"],
            "schema_version": headers["schema_version"],
            "ingestion_id": headers["ingestion_id"],
            "producer_service": headers["producer_service"],
            "ingested_at": headers["ingested_at"],
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": message.timestamp()[1],
            "key": key.decode() if isinstance(key, bytes) else None,
            "headers": {},
            "payload": orjson.Fragment(message.value()),  # type: ignore[arg-type]  # these events have one
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


YARDSTICKS: Mapping[str, Callable[[str, str, int, int], None]] = {"consume": consume, "bare": bare}

if __name__ == "__main__":
    YARDSTICKS[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
