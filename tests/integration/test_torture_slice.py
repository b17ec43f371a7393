"""The torture in small: one seed, every class of fault, all of it on real parts. `make torture` is the long one."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from tests.integration.conftest import missing
from tests.services.faults import DENIED, Fault
from tests.services.kafka import ServiceUnavailable
from tests.torture.plan import API_DEEDS, BROKER_DEEDS, CONSUMER_DEEDS, TOPIC_DEEDS, draw
from tests.torture.run import torture

SEED = 7
SECONDS = 45


@pytest.mark.kafka
@pytest.mark.gcs
@pytest.mark.timeout(400)
def test_one_seed_of_the_torture_passes(tmp_path: Path) -> None:
    """Nothing lost, doubled or changed; lag 0 in time; every process ends as it should."""
    if os.environ.get("STREAMLAKE_TEST_KAFKA"):
        pytest.skip("STREAMLAKE_TEST_KAFKA: a Kafka that is given cannot be killed")
    try:
        report = torture(SEED, SECONDS, 1, tmp_path)
    except ServiceUnavailable as e:
        missing(str(e))
    print(report.line())
    assert report.broken == [], f"history: {tmp_path}"


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
