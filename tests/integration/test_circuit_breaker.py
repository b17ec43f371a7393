"""A bad deploy must not drain a topic into the dead-letter topic."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.system import Child, World, poison, wait_until

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import OutgoingRecord

GOOD = b'{"order_id":"o","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The embedded default, with a breaker that trips at more than half of 100."""
    environment = {
        "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
        "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
        "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
        "STREAMLAKE_LANDING__MAX_AGE_S": "1",
        "STREAMLAKE_LANDING__BREAKER_DISPOSITIONS": "100",
    }
    made = World(tmp_path, environment, "breaks", "json")
    yield made
    made.close()


def _write(world: World, partition: int, values: list[bytes]) -> None:
    now_ms = int(time.time() * 1000)
    topic = raw_topic(world.dataset)
    world.append([OutgoingRecord(topic, b"k", value, (), now_ms, partition) for value in values])


def test_a_flood_of_poison_halts_its_partition_until_somebody_resumes_it(world: World) -> None:
    """Nothing of the flood is lettered, also not in slices after a restart; the other partitions go on."""
    world.set_up()
    consumer = world.consumer("consumer")
    _write(world, 0, [b"{broken"] * 150)
    wait_until("readiness says so", lambda: "dead letters" in _readiness(consumer))
    _write(world, 1, [GOOD] * 50)
    wait_until("the other partition goes on", lambda: world.committed().get(1) == 50)
    assert consumer.terminate() == 0

    consumer = world.start_consumer("again")
    wait_until("it is halted still", lambda: "streamlake resume" in _readiness(consumer))
    seen = world.observe()
    assert seen.letters == set()
    assert world.committed().get(0, 0) == 0
    assert consumer.terminate() == 0

    assert world.cli("resume", "--dataset", world.dataset, "--accept-dead-letters").returncode == 0
    consumer = world.consumer("resumed")
    wait_until("everything is committed", world.all_committed)
    seen = world.observe()
    assert seen.faults() == {}
    assert (len(seen.letters), seen.landed.total()) == (150, 50)


def test_some_poison_trips_nothing(world: World) -> None:
    """Less than the share is lettered, and the stream goes on."""
    world.set_up()
    world.consumer("consumer")
    _write(world, 0, [GOOD, GOOD, b"{broken"] * 140)
    world.append(poison(world.dataset, int(time.time() * 1000)))
    wait_until("everything is committed", world.all_committed)
    seen = world.observe()
    assert seen.faults() == {}
    assert len(seen.letters) == 140 + 8


def _readiness(consumer: Child) -> str:
    answer = consumer.get("/readyz")
    return answer.text if answer is not None and answer.status_code == 503 else ""
