"""Is every answer true? `python -m tests.torture_http --seed n --events n --seconds n --brokers 1|3`.

A client sends events to `streamlake api` on a real Kafka whose brokers are killed, stopped and frozen, with a small
producer queue that runs full; then each answer is held against the log. 2xx: there, where the answer says. 503: not
there. 504: either. The same key: the same id. What is there twice is the same. The last line has the verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.integration.system import World
from tests.services.kafka import KafkaService, ServiceUnavailable, kafka
from tests.torture_http.ledger import Ledger, read_log
from tests.torture_http.sender import Sender
from tests.torture_http.weather import Weather, draw

from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.ports.event_log import TopicSpec

UNAVAILABLE = 3
PARTITIONS = 6
SLACK_S = 240
HARSH = {
    "STREAMLAKE_KAFKA__DELIVERY_TIMEOUT_MS": "4000",
    "STREAMLAKE_LOG_LEVEL": "error",
}
MUST_SEE = (202, 422, 503, 504)


def main() -> int:
    """0: every answer was true; 1: one was not; 3: no Kafka to be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture_http", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what happens, and when")
    parser.add_argument("--events", type=int, default=100_000, help="how many events (default: 100000)")
    parser.add_argument("--seconds", type=float, default=90, help="over how long (default: 90)")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3, help="how many Kafka brokers (default: 3)")
    chosen = parser.parse_args()
    logging.getLogger("streamlake.kafka").setLevel(logging.CRITICAL)
    faulthandler.dump_traceback_later(chosen.seconds + SLACK_S, exit=True)
    try:
        with kafka(chosen.brokers, faults=True) as service, tempfile.TemporaryDirectory() as folder:
            return torture(service, Path(folder), chosen.seed, chosen.events, chosen.seconds)
    except ServiceUnavailable as missing:
        print(f"torture-http: not run: {missing}")
        return UNAVAILABLE


def torture(service: KafkaService, folder: Path, seed: int, events: int, seconds: float) -> int:
    """One run; its exit code."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{service.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"file://{folder}/lake",
        **HARSH,
        # Little more than comes in a second: filled by a short outage too, whatever the pace.
        "STREAMLAKE_KAFKA__QUEUE_BUFFERING_MAX_MESSAGES": str(max(400, int(1.35 * events / seconds))),
    }
    world = World(folder, environment, dataset, "json")
    try:
        for topic in (raw_topic(dataset), dlq_topic(dataset)):
            # One replica, so that a broker away leaves partitions without a leader.
            world.admin.create_topic(TopicSpec(topic, PARTITIONS, 1, {"max.message.bytes": "2097152"}))
        api = world.api()
        ledger = Ledger(dataset)
        began = time.monotonic()
        weather = Weather(service, draw(seed, seconds, len(service.brokers)))
        asyncio.run(Sender(api.port, ledger, seed).send(events, events / seconds))
        weather.wait()
        took = time.monotonic() - began
        code = api.terminate()
        broken = ledger.verdict(read_log(world.admin, world.reader, dataset))
    finally:
        world.close()
    if code != 0:
        broken.append(f"the API's exit code was {code}")
    if ledger.settled != events:
        broken.append(f"{events - ledger.settled} events were never stored")
    broken += [f"never seen, so proved nothing: {status}" for status in MUST_SEE if not ledger.statuses[status]]
    for what in broken:
        print(f"  {what}")
    said = ", ".join(f"{status} x {count:,}" for status, count in sorted(ledger.statuses.items()))
    print(
        f"torture-http: {'FAILED' if broken else 'passed'}: seed {seed}, {events:,} events in {took:.0f} s,"
        f" {len(ledger.said):,} attempts: {said}; in the log twice {ledger.doubled:,};"
        f" requests {dict(sorted(ledger.http.items()))}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
