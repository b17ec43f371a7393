"""What only several brokers can do to the event log: they do not hear of everything at the same time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.contracts.event_log import partitions_of, record, stored
from tests.integration.conftest import promised
from tests.services.kafka import kafka

from streamlake.adapters.event_log.kafka import KafkaEventLog
from streamlake.domain.errors import LogUnavailable
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.ports.event_log import TopicSpec

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def log() -> Iterator[KafkaEventLog]:
    """Three brokers of this module's own."""
    with promised(kafka(3, faults=True)) as service:
        yield KafkaEventLog(service.bootstrap, {})


def test_a_topic_is_known_to_the_leaders_of_its_partitions_when_it_is_said_to_be_created(log: KafkaEventLog) -> None:
    """The controller says so before they know: of three brokers every fourth topic was missing when looked at."""
    admin, writer = log.admin(), log.writer()
    for _ in range(20):
        places = partitions_of(uuid.uuid4().hex, 3)
        assert admin.create_topic(TopicSpec(places[0].topic, 3, 3))
        assert admin.watermarks(places) == dict.fromkeys(places, Watermarks(0, 0))
        stored(writer.append_and_wait([record(place.topic, partition=place.partition) for place in places]))
    writer.close(5)
    admin.close()


def test_groups_are_altered_also_while_their_coordinators_come_up(log: KafkaEventLog) -> None:
    """The first groups of a cluster: the brokers know late which of them has which; each partition is told so."""
    admin, places = log.admin(), partitions_of(uuid.uuid4().hex, 2)
    assert admin.create_topic(TopicSpec(places[0].topic, 2, 3))
    deadline = time.monotonic() + 60

    def alter(group: str, positions: Mapping[TopicPartition, Position]) -> None:
        while True:
            try:
                return admin.alter_group_offsets(group, positions)
            except LogUnavailable as fault:  # cold brokers may need longer to make the topic of all offsets
                if "NOT_COORDINATOR" in str(fault) or time.monotonic() > deadline:
                    raise

    wanted = {f"group-{number}": dict.fromkeys(places, Position(number, "metadata")) for number in range(40)}
    with ThreadPoolExecutor(16) as pool:
        altered = [pool.submit(alter, group, positions) for group, positions in wanted.items()]
    assert [each.result() for each in altered] == [None] * len(wanted)
    assert {group: admin.group_offsets(group, places) for group in wanted} == wanted
    admin.close()
