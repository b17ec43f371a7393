"""Rewinds against running consumers, on a real Kafka and a real Google Cloud Storage API."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import promised
from tests.integration.system import Child, World, wait_until, wait_until_ready
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService, kafka

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.snapshots import committed_replay

pytestmark = [pytest.mark.kafka, pytest.mark.gcs, pytest.mark.timeout(400)]

GOOD = b'{"order_id":"o","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}'
RECORDS = 400
"""Of each of the six partitions."""

RANGE = 300
BAD = 6


@pytest.fixture
def world(kafka_service: KafkaService, gcs_service: GcsService, tmp_path: Path) -> Iterator[World]:
    """A dataset of its own with records in each partition, one of them bad, landed by nobody yet."""
    made = prepared(kafka_service, gcs_service, tmp_path)
    yield made
    made.close()


def prepared(service: KafkaService, gcs_service: GcsService, folder: Path) -> World:
    dataset = f"t{uuid.uuid4().hex[:10]}"
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{service.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}",
        "STORAGE_EMULATOR_HOST": gcs_service.endpoint,
        "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "STREAMLAKE_KAFKA__HEARTBEAT_INTERVAL_MS": "500",
        "STREAMLAKE_LANDING__MAX_AGE_S": "1",
        "STREAMLAKE_LANDING__MAX_RECORDS": "300",
    }
    made = World(folder, environment, dataset, "json")
    made.set_up()
    put(made, RECORDS)
    return made


def put(world: World, count: int) -> None:
    """Append that many to each partition; the record at offset `BAD` of the first call is bad."""
    stamp = int(time.time() * 1000)
    records = [
        OutgoingRecord(raw_topic(world.dataset), b"k", b"{broken" if at == BAD else GOOD, (), stamp, lane.partition)
        for lane in world.lanes
        for at in range(count)
    ]
    world.append(records)


def options() -> list[str]:
    return [word for p in range(6) for word in ("--offsets", f"{p}:0-{RANGE}")]


def start_rewind(world: World, name: str = "rewind") -> Child:
    return world.start(name, ["replay", "run", "--dataset", world.dataset, *options(), "--rewind", "--id", "r"])


def held(world: World) -> dict[str, Any]:
    """The rewind object."""
    found = list(world.store.list(f"ops/rewind/{world.dataset}.json"))
    state: dict[str, Any] = json.loads(world.store.read(found[0].name)[1]) if found else {"state": "none"}
    return state


def wait_for_state(world: World, *states: str) -> None:
    wait_until(f"the rewind is {states}", lambda: held(world)["state"] in states)


def check(world: World, *consumers: Child) -> None:
    """Everything there once, live and replayed; nobody is rewound any more."""
    put(world, 10)
    wait_until("live goes on to the end", world.all_committed)
    wait_until("every position is a live one", lambda: not rewound(world))
    assert [consumer.terminate() for consumer in consumers] == [0] * len(consumers)
    assert world.observe().faults() == {}
    topic_id = world.topic_id
    rows, letters = world.replayed("r")
    assert rows == Counter((topic_id, p, o) for p in range(6) for o in range(RANGE) if o != BAD)
    assert letters == {(topic_id, p, BAD) for p in range(6)}
    assert held(world)["state"] == "released"


def rewound(world: World) -> list[str]:
    offsets = world.admin.group_offsets(world.group, world.lanes)
    return [at.metadata for at in offsets.values() if committed_replay(at.metadata) is not None]


def answer(child: Child, path: str) -> str:
    found = child.get(path)
    return found.text if found is not None else ""


def test_two_consumers_stop_land_the_range_and_go_on_live(world: World) -> None:
    """A stopped dataset says so in readiness and metrics; parts of before stay as they are."""
    consumers = [world.consumer("one"), world.consumer("two")]
    wait_until("everything has landed", world.all_committed)
    before = world.parts()
    command = start_rewind(world)
    wait_until("readiness says so", lambda: "stopped for the rewind r" in answer(consumers[0], "/readyz"))
    stopped = f'streamlake_stopped{{dataset="{world.dataset}"}} 1.0'
    wait_until("metrics say so", lambda: stopped in answer(consumers[0], "/metrics"))
    assert command.process.wait(120) == 0, command.log.read_text()[-2000:]
    parts = world.parts()
    assert {name: parts[name] for name in before} == before
    told = json.loads(world.cli("replay", "status", "r", "--json").stdout)
    assert told["runs"][-1]["counts"] == {"selected": 6 * RANGE, "landed": 6 * (RANGE - 1), "lettered": 6}
    check(world, *consumers)
    again = world.parts()
    assert world.cli("replay", "resume", "r").returncode == 0
    assert world.parts() == again, "the same id again adds nothing"


@pytest.mark.parametrize("state", ["stopping", "rewriting"])
def test_the_command_killed_and_resumed(world: World, state: str) -> None:
    consumer = world.consumer("one")
    wait_until("everything has landed", world.all_committed)
    command = start_rewind(world)
    wait_for_state(world, state)
    command.kill()
    other = world.cli("replay", "run", "--dataset", world.dataset, "--all", "--rewind", "--id", "other")
    assert (other.returncode, b"is being rewound for replay r" in other.stderr) == (3, True)
    done = world.cli("replay", "resume", "r")
    assert done.returncode == 0, done.stdout + done.stderr
    check(world, consumer)


def test_a_consumer_killed_while_it_rewrites(world: World) -> None:
    """The other one, and later a new one, land what it leaves; the command fills the rest."""
    consumers = [world.consumer("one"), world.consumer("two")]
    wait_until("everything has landed", world.all_committed)
    command = start_rewind(world)
    wait_for_state(world, "rewriting")
    consumers[0].kill()
    third = world.consumer("three")
    assert command.process.wait(180) == 0, command.log.read_text()[-2000:]
    check(world, consumers[1], third)


@pytest.mark.parametrize("state", ["stopping", "rewriting"])
def test_the_broker_lost_on_the_way(gcs_service: GcsService, tmp_path: Path, state: str) -> None:
    """The command waits it out, or ends and is resumed; the consumers only wait."""
    with promised(kafka(faults=True)) as service, closing(prepared(service, gcs_service, tmp_path)) as world:
        consumers = [world.consumer("one"), world.consumer("two")]
        wait_until("everything has landed", world.all_committed)
        command = start_rewind(world)
        wait_for_state(world, state)
        service.kill()
        wait_until("the consumers miss it", lambda: not any(child.is_ready() for child in consumers), 60)
        service.restart()
        if command.process.wait(180) != 0:
            done = world.cli("replay", "resume", "r")
            assert done.returncode == 0, done.stdout + done.stderr
        wait_until_ready(*consumers)
        check(world, *consumers)


def test_an_abort_puts_the_group_back(world: World) -> None:
    consumer = world.consumer("one")
    wait_until("everything has landed", world.all_committed)
    before = world.committed()
    consumer.terminate()
    command = start_rewind(world)
    wait_for_state(world, "rewriting")
    command.kill()
    assert rewound(world)
    done = world.cli("replay", "abort", "r")
    assert done.returncode == 0, done.stderr
    assert world.committed() == before
    assert not rewound(world)
    assert held(world)["state"] == "released"
    assert json.loads(world.cli("replay", "status", "r", "--json").stdout)["state"] == "aborted"
    consumer = world.consumer("again")
    put(world, 10)
    wait_until("live goes on", world.all_committed)
    assert consumer.terminate() == 0
    assert world.observe().faults() == {}
