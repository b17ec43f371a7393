"""The torture in small: one seed, every class of fault, all of it on real parts. `make torture` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tests.integration.conftest import missing
from tests.services.faults import DENIED, Fault
from tests.torture.__main__ import UNAVAILABLE
from tests.torture.plan import API_DEEDS, BROKER_DEEDS, CONSUMER_DEEDS, TOPIC_DEEDS, draw

ROOT = Path(__file__).parents[2]
SEED = 7
SECONDS = 45


@pytest.mark.kafka
@pytest.mark.gcs
@pytest.mark.timeout(400)
def test_one_seed_of_the_torture_passes() -> None:
    """Nothing lost, doubled or changed; lag 0 in time; every process ends as it should. In a process of its own, as
    `make torture` runs it: librdkafka may abort the one that watches brokers die."""
    if os.environ.get("STREAMLAKE_TEST_KAFKA"):
        pytest.skip("STREAMLAKE_TEST_KAFKA: a Kafka that is given cannot be killed")
    command = [sys.executable, "-m", "tests.torture", "--seed", str(SEED), "--minutes", str(SECONDS / 60)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode == UNAVAILABLE:
        missing(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "torture: passed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("brokers", [1, 3])
def test_every_plan_has_every_deed_and_every_class_of_fault(brokers: int) -> None:
    """Whatever the seed; and no lane does two things to its victim at once, but the store's."""
    for seed in range(200):
        plan = draw(seed, 90, brokers, 6)
        deeds = {lane: [step.deed for step in steps] for lane, steps in plan.items()}
        consumers = [deed for lane in deeds if lane.startswith("consumer") for deed in deeds[lane]]
        assert set(consumers) == set(CONSUMER_DEEDS)
        assert set(deeds["api"]) == set(API_DEEDS)
        assert set(deeds["broker"]) == set(BROKER_DEEDS[brokers])
        assert set(deeds["topic"]) == set(TOPIC_DEEDS)
        assert set(deeds["store"]) == {fault.value for fault in Fault}
        assert all(deeds["store"].count(fault.value) == 1 for fault in DENIED)
        for lane in plan.keys() - {"store", "topic"}:
            steps = plan[lane]
            assert all(before.end < after.at for before, after in pairwise(steps)), (seed, lane)


def test_a_plan_is_its_seeds() -> None:
    """The same seed, the same plan."""
    assert draw(3, 90, 1, 6) == draw(3, 90, 1, 6) != draw(4, 90, 1, 6)
