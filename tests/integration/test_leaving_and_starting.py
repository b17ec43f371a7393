"""A consumer leaves in time whatever does not answer just then, and waits to start for a world that is away."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import promised
from tests.integration.faulty import FaultyWorld, good, log_lines, problems, write
from tests.integration.system import Child, World, wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.faults import Fault
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService, kafka

pytestmark = [pytest.mark.kafka, pytest.mark.gcs]

EXIT_S = 30.0
REFUSED = 3


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaService]:
    """A Kafka of this module's own, to be frozen and killed."""
    with promised(kafka(faults=True)) as service:
        yield service


@pytest.fixture
def world(broker: KafkaService, gcs_service: GcsService, tmp_path: Path) -> Iterator[FaultyWorld]:
    """A world of this test's own."""
    with fault_proxy(gcs_service.endpoint) as proxy:
        dataset = f"t{uuid.uuid4().hex[:10]}"
        made = FaultyWorld(tmp_path, broker.bootstrap, proxy, gcs_service.endpoint, dataset)
        made.set_up()
        yield made
        made.faults.end()
        made.close()


def _exit(child: Child) -> tuple[int, float]:
    """SIGTERM; the exit code, and how long it took."""
    began = time.monotonic()
    try:
        code = child.terminate(EXIT_S + 10)
    except subprocess.TimeoutExpired:
        pytest.fail(f"not gone after {EXIT_S + 10:.0f} s: {child.log.read_text()[-2000:]}")
    return code, time.monotonic() - began


@pytest.mark.parametrize("broken", ["store", "broker frozen", "broker killed", "store and broker frozen"])
def test_it_leaves_in_time_whatever_does_not_answer(world: FaultyWorld, broker: KafkaService, broken: str) -> None:
    """SIGTERM with records in hand: exit 0 within 30 s, and the next one lands what it had left."""
    leaving = world.launch_consumer("leaving")
    wait_until_ready(leaving)
    write(world, [good(f"before-{n}") for n in range(60)])
    wait_until("everything is committed", world.all_committed)
    if "store" in broken:
        world.faults.begin(Fault.SILENT)
    write(world, [good(f"left-{n}") for n in range(60)])
    if "store" in broken:
        wait_until("an upload has no answer", lambda: "StoreUnavailable" in " ".join(problems(leaving) or []), 60)
    if "frozen" in broken:
        broker.pause()
    elif "killed" in broken:
        broker.kill()
    code, took = _exit(leaving)
    print(f"{broken}: left in {took:.1f} s")
    world.faults.end()
    if "frozen" in broken:
        broker.resume()
    elif "killed" in broken:
        broker.restart()
    assert code == 0
    assert took <= EXIT_S
    broker.wait_until_serving()
    world.launch_consumer("next")
    wait_until("everything is committed", world.all_committed)
    verdict = world.observe()
    assert verdict.faults() == {}
    assert verdict.letters == set()


def test_it_waits_for_a_world_that_is_away_at_start(world: FaultyWorld, broker: KafkaService) -> None:
    """Alive, not ready and saying why, first for the store and then for the log; then it starts without a hand."""
    write(world, [good(f"n{n}") for n in range(12)])
    broker.kill()
    world.faults.begin(Fault.UNAVAILABLE)
    starting = world.launch_consumer("starting")
    wait_until("it names the store", lambda: "StoreUnavailable" in " ".join(problems(starting) or []), 60)
    alive = starting.get("/livez")
    assert alive is not None
    assert alive.status_code == 200
    world.faults.end()
    wait_until("it names the log", lambda: "LogUnavailable" in " ".join(problems(starting) or []), 60)
    broker.restart()
    wait_until("everything is committed", world.all_committed)
    wait_until_ready(starting, within_s=30)
    assert world.observe().faults() == {}


def test_a_stop_while_it_waits_to_start_is_heeded(world: FaultyWorld) -> None:
    """SIGTERM before it ever polled: exit 0, at once."""
    world.faults.begin(Fault.UNAVAILABLE)
    starting = world.launch_consumer("starting")
    wait_until("it waits", lambda: any(line["event"] == "waiting to start" for line in log_lines(starting.log)), 60)
    code, took = _exit(starting)
    assert code == 0
    assert took <= EXIT_S


@pytest.mark.parametrize(
    ("made", "lacking"),
    [(("topics", "provision"), "doctor --create-bucket"), (("doctor", "--create-bucket"), "topics provision")],
    ids=["no bucket", "no topics"],
)
def test_what_an_operator_has_to_mend_ends_it_at_start(tmp_path: Path, made: tuple[str, ...], lacking: str) -> None:
    """Exit 3, and the last line names the command that makes what is missing."""
    embedded = {
        "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
        "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
    }
    lame = World(tmp_path, embedded, "orders", "json")
    lame.cli(*made)
    ended = lame.cli("consumer", "--dataset", "orders")
    assert ended.returncode == REFUSED
    assert lacking in ended.stderr.decode().splitlines()[-1]
    lame.close()
