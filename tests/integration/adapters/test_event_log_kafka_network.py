"""A network that drops connections in mid-request: what is answered is right, and what is not says so."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from tests.contracts.event_log import record, stored
from tests.integration.conftest import promised
from tests.services.kafka import kafka
from tests.services.tcp_proxy import TcpProxy, tcp_proxy

from streamlake.adapters.event_log.kafka import KafkaEventLog
from streamlake.domain.errors import LogUnavailable
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.ports.event_log import LogAdmin, LogReader, TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

TOPIC, GROUP = "topic", "group"
LANES = [TopicPartition(TOPIC, n) for n in range(3)]
RECORDS = 5
NEVER_MS = 4_000_000_000_000
"""Later than any record."""

IMPATIENT = {"reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "20"}
CUTS = 15

ASKS: Mapping[str, Callable[[LogAdmin, LogReader], object]] = {
    "topics": lambda admin, _: admin.topics([TOPIC]),
    "all topics": lambda admin, _: admin.topics(),
    "topic_config": lambda admin, _: admin.topic_config(TOPIC),
    "broker_count": lambda admin, _: admin.broker_count(),
    "watermarks": lambda admin, _: admin.watermarks(LANES),
    "offsets_for_times": lambda admin, _: admin.offsets_for_times(dict.fromkeys(LANES, 0)),
    "offsets_for_no_times": lambda admin, _: admin.offsets_for_times(dict.fromkeys(LANES, NEVER_MS)),
    "group_offsets": lambda admin, _: admin.group_offsets(GROUP, LANES),
    "read": lambda _, reader: [offset for batch in reader.read(LANES[0], 0, RECORDS) for offset in batch.offsets],
}


@pytest.fixture(scope="module")
def flaky() -> Iterator[tuple[TcpProxy, LogAdmin, LogReader]]:
    """A network, and what looks through it at a topic with records and a group with offsets."""
    with tcp_proxy() as network, promised(kafka(behind=network)) as service:
        near = KafkaEventLog(service.bootstrap)
        admin, writer = near.admin(), near.writer()
        admin.create_topic(TopicSpec(TOPIC, len(LANES), 1, {"retention.ms": "-1"}))
        stored(writer.append_and_wait([record(TOPIC, partition=p.partition) for p in LANES for _ in range(RECORDS)]))
        admin.alter_group_offsets(GROUP, dict.fromkeys(LANES, Position(3, "metadata")))
        writer.close(5)
        admin.close()
        far = KafkaEventLog(f"127.0.0.1:{network.port}", IMPATIENT)
        asked = far.admin()
        yield network, asked, far.reader()
        asked.close()


@pytest.mark.parametrize("what", ASKS)
def test_what_is_asked_over_a_connection_that_drops_is_answered_right_or_not_at_all(
    flaky: tuple[TcpProxy, LogAdmin, LogReader], what: str
) -> None:
    """librdkafka answers some of it with 'no offset' and no error, which an empty log, or group, would look like."""
    network, admin, reader = flaky
    ask, dice = partial(ASKS[what], admin, reader), random.Random(1)
    right = answer(ask)
    for _ in range(CUTS):
        answer(ask)  # which connects again
        began = time.monotonic()
        assert answer(ask) == right
        cutting = threading.Timer(dice.uniform(0, time.monotonic() - began), network.cut)
        cutting.start()
        with contextlib.suppress(LogUnavailable):
            assert ask() == right
        cutting.join()


def answer(ask: Callable[[], object]) -> object:
    """Ask until there is one."""
    while True:
        with contextlib.suppress(LogUnavailable):
            return ask()
