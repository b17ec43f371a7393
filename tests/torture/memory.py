"""Does a consumer stay small? `python -m tests.torture.memory [--minutes m] [--out FILE]`, on real Kafka and GCS API.

    outage   storage answers 503 for that long while 1 KB events come in at 8 MB/s; then it heals
    shapes   64 partitions x 3 dates of 900 KB events that do not compress, into a store that is away at first

Both run under the default memory budget. RSS must stay below 600 MB, also while what was buffered is landed, and be
flat in the second half of the outage; afterwards `streamlake audit` must find every offset once. Exit code 0: so it is.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import random
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from confluent_kafka import Producer
from tests.integration.faulty import CLASSIC, FaultyWorld
from tests.integration.system import Child, wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.faults import Fault
from tests.services.gcs import gcs
from tests.services.kafka import ServiceUnavailable, kafka

from streamlake.domain.model.contracts import raw_topic

UNAVAILABLE = 3
MOST_MB = 600
FLAT_MB = 20
FLOWS_S = 5.0
LANDS_S = 600.0
EVERY_S = 0.5
DAY_MS = 86_400_000
RATE_MB = 8
SMALL_BYTES, LARGE_BYTES = 1_000, 900_000
PARTITIONS, DATES, ROUNDS = 64, 3, 4
AS_SHIPPED = {"STREAMLAKE_GCS__TIMEOUT_S": "60", "STREAMLAKE_LANDING__MAX_AGE_S": "10"}
"""Over the quick settings of the tests' worlds; parts are a little younger than by default, so that a run ends soon."""

Feed = Callable[[Producer, str, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one run amounts to; RSS in MB (10^6), of the consumer."""

    story: str
    outage_s: float
    written_mb: int
    """Of values, before and during the outage."""
    buffered_mb: int
    """The most that the consumer says it has buffered."""
    before: int
    during: Sequence[int]
    """At a quarter, half, three quarters and the end of the outage."""
    most: int
    """Of the whole run, what is landed afterwards included."""
    after: int
    audit: int
    """Its exit code."""

    @property
    def passed(self) -> bool:
        """Small, flat, and everything landed once?"""
        return self.most < MOST_MB and self.during[3] - self.during[1] <= FLAT_MB and self.audit == 0

    def line(self) -> str:
        """The figures, and the verdict first."""
        return (
            f"memory: {'passed' if self.passed else 'FAILED'}: {self.story}: {self.written_mb} MB in,"
            f" {self.outage_s:.0f} s without storage; RSS {self.before} MB before,"
            f" {'/'.join(map(str, self.during))} at each quarter of it, {self.most} at most, {self.after} in the end;"
            f" buffered {self.buffered_mb} MB at most; audit {self.audit}"
        )


def main() -> int:
    """0: small and flat; 1: not so; 3: no Kafka or no GCS API to be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.memory", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long storage is away (default: 5)")
    parser.add_argument("--out", type=Path, help="append the figures to this file, as JSON")
    chosen = parser.parse_args()
    logging.getLogger("streamlake.kafka").setLevel(logging.CRITICAL)
    try:
        with ExitStack() as services:
            log, store = services.enter_context(kafka()), services.enter_context(gcs())
            found = [
                _measure("outage", log.bootstrap, store.endpoint, 6, _small, chosen.minutes * 60),
                _measure("shapes", log.bootstrap, store.endpoint, PARTITIONS, _large, chosen.minutes * 60),
            ]
    except ServiceUnavailable as missing:
        print(f"memory: not run: {missing}")
        return UNAVAILABLE
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        with chosen.out.open("a") as out:
            out.writelines(json.dumps(asdict(sizes) | {"passed": sizes.passed}) + "\n" for sizes in found)
    return 0 if all(sizes.passed for sizes in found) else 1


def _measure(story: str, bootstrap: str, endpoint: str, partitions: int, feed: Feed, outage_s: float) -> Sizes:
    with _world(bootstrap, endpoint, partitions) as world:
        consumer = world.launch_consumer("consumer")
        wait_until_ready(consumer)
        over, watch = threading.Event(), _Watch(consumer)
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.kbytes": 65536})
        feeding = threading.Thread(target=feed, args=(producer, raw_topic(world.dataset), over), name="feed")
        feeding.start()
        watch.look_for(FLOWS_S)
        before = watch.sizes[-1]
        world.faults.begin(Fault.UNAVAILABLE)
        quarters = [watch.look_for(outage_s / 4) for _ in range(4)]
        over.set()
        feeding.join()
        written = sum(mark.high for mark in world.admin.watermarks(world.lanes).values())
        world.faults.end()
        watch.look_until(world.all_committed, LANDS_S)
        audit = world.cli("audit", "--dataset", world.dataset)
        size = SMALL_BYTES if feed is _small else LARGE_BYTES
        sizes = Sizes(
            story,
            outage_s,
            written * size // 10**6,
            watch.buffered // 10**6,
            before,
            quarters,
            max(watch.sizes),
            watch.sizes[-1],
            audit.returncode,
        )
    print(sizes.line(), flush=True)
    return sizes


@contextmanager
def _world(bootstrap: str, endpoint: str, partitions: int) -> Iterator[FaultyWorld]:
    dataset = f"m{uuid.uuid4().hex[:10]}"
    with tempfile.TemporaryDirectory() as folder, fault_proxy(endpoint) as proxy:
        world = FaultyWorld(Path(folder), bootstrap, proxy, endpoint, dataset, {**CLASSIC, **AS_SHIPPED})
        contract = Path(folder) / "contracts" / f"{dataset}.v1.odcs.yaml"
        text = contract.read_text()
        contract.write_text(re.sub(r"(property: partitions\n +value:) 6", rf"\1 {partitions}", text))
        try:
            world.set_up()
            yield world
        finally:
            world.close()


class _Watch:
    """Looks at a process' size, twice a second."""

    def __init__(self, child: Child) -> None:
        self.sizes: list[int] = []
        self.buffered = 0
        self._child = child
        self._process = psutil.Process(child.process.pid)

    def look_for(self, seconds: float) -> int:
        """For so long; the size at the end."""
        until = time.monotonic() + seconds
        self.look_until(lambda: time.monotonic() >= until, seconds + LANDS_S)
        return self.sizes[-1]

    def look_until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Until it holds."""

        def looked() -> bool:
            self._look()
            return condition()

        wait_until("the watch is over", looked, within_s)

    def _look(self) -> None:
        self.sizes.append(self._process.memory_info().rss // 10**6)
        answer = self._child.get("/metrics")
        found = re.search(r"^streamlake_buffer_bytes\{.*\} (\S+)$", answer.text if answer else "", re.MULTILINE)
        self.buffered = max(self.buffered, int(float(found[1])) if found else 0)
        time.sleep(EVERY_S)


def _event(size: int) -> bytes:
    """Valid, of that many bytes, most of which do not compress."""
    head = b'{"order_id":"o","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z","pad":"'
    return head + base64.b64encode(os.urandom(size))[: size - len(head) - 2] + b'"}'


def _small(producer: Producer, topic: str, over: threading.Event) -> None:
    """1 KB events, at a steady rate until told to stop."""
    events, began, sent = [_event(SMALL_BYTES) for _ in range(1000)], time.monotonic(), 0
    while not over.wait(0.05):
        for _ in range(int((time.monotonic() - began) * RATE_MB * 1000) - sent):
            producer.produce(topic, random.choice(events), str(sent))
            sent += 1
        producer.poll(0)
    producer.flush()


def _large(producer: Producer, topic: str, over: threading.Event) -> None:
    """900 KB events, some for every date of every partition, as fast as the log takes them."""
    events, now_ms = [_event(LARGE_BYTES) for _ in range(20)], int(time.time() * 1000)
    for number in range(ROUNDS * PARTITIONS * DATES):
        if over.is_set():
            break
        partition, day = number % PARTITIONS, number // PARTITIONS % DATES
        producer.produce(topic, events[number % 20], "k", partition=partition, timestamp=now_ms - day * DAY_MS)
        producer.flush()


if __name__ == "__main__":
    sys.exit(main())
