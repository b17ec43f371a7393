"""Events over HTTP, consumers killed and frozen, and then every offset accounted for from the outside."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.system import Child, Producer, World, poison, wait_until
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

QUICK = {"STREAMLAKE_LANDING__MAX_AGE_S": "1"}


@pytest.fixture(params=["embedded", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The embedded default, and the real thing; each with its own dataset."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    if request.param == "embedded":
        environment = {
            "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
            "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
            "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
        }
        made = World(tmp_path, environment | QUICK, dataset, "json")
    else:
        kafka: KafkaService = request.getfixturevalue("kafka_service")
        gcs: GcsService = request.getfixturevalue("gcs_service")
        environment = {
            "STREAMLAKE_EVENT_LOG": f"kafka://{kafka.bootstrap}",
            "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}/some/prefix",
            "STORAGE_EMULATOR_HOST": gcs.endpoint,
            "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "3000",
        }
        made = World(tmp_path, environment | QUICK, dataset, "json.gz")
    yield made
    made.close()


SESSIONS = {"STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S", "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS"}


def test_every_offset_is_landed_once_or_lettered_through_kill_and_freeze(world: World) -> None:
    """kill -9 one consumer, SIGSTOP the other past its session, resume it: nothing lost, nothing twice, bytes equal."""
    world.set_up()
    api = world.api()
    first, second = world.consumer("first"), world.consumer("second")
    producer = Producer(api, world.dataset, seed=7)
    wait_until("both are members", lambda: world.members() == 2)
    wait_until("a part has landed", world.parts)
    seen = world.parts()

    first.kill()
    world.check_committed_has_landed()
    first = world.consumer("first")
    wait_until("both are members again", lambda: world.members() == 2)

    world.freeze(second)
    wait_until("the frozen one is given up", lambda: world.members() == 1)
    world.check_committed_has_landed()
    second.send(signal.SIGCONT)
    wait_until("the woken one is back", lambda: world.members() == 2)

    past_the_api = poison(world.dataset, int(time.time() * 1000))
    world.append(past_the_api)
    answers = producer.stop()
    wait_until("everything is committed", world.all_committed)
    assert (api.terminate(), first.terminate(), second.terminate()) == (0, 0, 0)

    verdict = world.observe()
    assert verdict.faults() == {}
    assert {place[1:] for place in verdict.log} >= set(answers.accepted.values())
    assert {i: verdict.ids[i][1:] for i in answers.accepted} == answers.accepted
    assert verdict.api_letters == answers.lettered
    assert not answers.other
    assert len(verdict.letters) == 8
    assert len(verdict.log) == len(answers.accepted) + len(past_the_api)
    after = world.parts()
    assert {name: after[name] for name in seen} == seen, "a part has changed"


def test_a_stopped_consumer_leaves_nothing_behind(world: World) -> None:
    """SIGTERM drains: what was read is landed and committed, the roll-up is complete, the exit code is 0."""
    for session in SESSIONS:  # the default is long: nobody is to be given up here, and read again
        world.environment.pop(session, None)
    world.set_up()
    api, consumer = world.api(), world.consumer("only")
    producer = Producer(api, world.dataset, seed=8)
    wait_until("a part has landed", world.parts)
    answers = producer.stop()
    wait_until("everything is read", lambda: _metric(consumer, "consumed_records_total") == len(answers.accepted))
    assert consumer.terminate() == 0
    assert world.all_committed()
    assert world.observe().faults() == {}
    rolled_up = world.cli("raw-zone", "ls", world.dataset, "--json")
    assert rolled_up.returncode == 0
    assert len(rolled_up.stdout.splitlines()) == len(world.parts())


def _metric(child: Child, name: str) -> float:
    answer = child.get("/metrics")
    lines = answer.text.splitlines() if answer else []
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"streamlake_{name}"))
