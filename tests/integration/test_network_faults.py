"""The network between the processes and Kafka fails: nothing is lost or doubled, and it heals without a human."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.integration.conftest import promised
from tests.integration.faulty import CLASSIC, KIP_848, SESSION_S, FaultyWorld, PatientProducer
from tests.integration.system import wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService, kafka
from tests.services.tcp_proxy import TcpProxy, flapping, tcp_proxy

pytestmark = [pytest.mark.kafka, pytest.mark.gcs]

RECOVERY_S = 60 + SESSION_S
CONNECTIONS_HIT = 25
"""Of each fault; there are about ten at a time, so it flaps for half a minute and more."""

FROZEN_S = SESSION_S + 3
"""So that some freezes outlast the session, and members are expelled."""

Flaky = tuple[KafkaService, TcpProxy]


@pytest.fixture(scope="module")
def flaky() -> Iterator[Flaky]:
    """A Kafka of this module's own, and the network before it."""
    with tcp_proxy() as network, promised(kafka(behind=network)) as service:
        yield service, network


@pytest.fixture(params=[CLASSIC, KIP_848], ids=["classic", "consumer"])
def world(
    request: pytest.FixtureRequest, flaky: Flaky, gcs_service: GcsService, tmp_path: Path
) -> Iterator[FaultyWorld]:
    """A world of this test's own: its processes go through the network, its observer past it."""
    service, network = flaky
    with fault_proxy(gcs_service.endpoint) as proxy:
        dataset = f"t{uuid.uuid4().hex[:10]}"
        made = FaultyWorld(tmp_path, service.bootstrap, proxy, gcs_service.endpoint, dataset, request.param)
        made.set_up()
        made.environment = {**made.environment, "STREAMLAKE_EVENT_LOG": f"kafka://127.0.0.1:{network.port}"}
        yield made
        made.close()


@pytest.mark.timeout(300)
def test_a_flapping_network_loses_and_doubles_nothing_and_heals_by_itself(world: FaultyWorld, flaky: Flaky) -> None:
    """Connections of the API and of two consumers are reset, refused and frozen; each event answered 202 has landed."""
    _, network = flaky
    children = [world.launch("api", "api"), world.launch_consumer("one"), world.launch_consumer("two")]
    for child in children:
        wait_until_ready(child)
    before = Counter(network.befallen)
    producer = PatientProducer(children[0], world.dataset, seed=1, pace_s=0.1, batch=10)
    with flapping(network, seed=7, frozen_s=FROZEN_S):
        for fault in ("cut", "refuse", "freeze"):
            wait_until(f"enough were hit: {fault}", partial(_hit, network, before, fault))
    began = time.monotonic()
    answers = producer.stop()
    wait_until("everything is committed", world.all_committed, RECOVERY_S)
    for child in children:
        wait_until_ready(child, within_s=RECOVERY_S)
    took = time.monotonic() - began
    print(f"connections befallen: {dict(network.befallen)}; events: {len(answers.accepted)} accepted,")
    print(f"{dict(answers.other)} refused, requests unanswered: {dict(producer.silences)}; recovery {took:.1f} s")

    assert took <= RECOVERY_S
    assert answers.accepted
    verdict = world.observe()
    assert verdict.faults() == {}
    assert verdict.letters == set()
    assert {i: place[1:] for i, place in verdict.ids.items() if i in answers.accepted} == answers.accepted
    assert all(verdict.api_letters.get(i) == event for i, event in answers.lettered.items())


def _hit(network: TcpProxy, before: Counter[str], fault: str) -> bool:
    return network.befallen[fault] - before[fault] >= CONNECTIONS_HIT
