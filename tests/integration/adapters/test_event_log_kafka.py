"""The event log on a real Apache Kafka: every promise of the port, and what only Kafka can do to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from streamlake.adapters.event_log.kafka import KafkaEventLog
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogSubscriber, LogWriter, Subscription
from streamlake.domain.ports.event_log import SubscriptionListener
from tests.contracts.event_log import (
    EventLogHarness,
    LogAdminContract,
    LogReaderContract,
    LogWriterContract,
    SubscriptionContract,
)
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka

SESSION_S = 6.0
"""The shortest that brokers allow unless told otherwise."""

CLASSIC = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500", "max.poll.interval.ms": "6000"}
KIP_848 = {"group.protocol": "consumer", "max.poll.interval.ms": "6000"}


class KafkaHarness(EventLogHarness):
    """Real clients of one Kafka, with sessions short enough to wait for."""

    session_s = SESSION_S
    deadline_s = 30.0

    def __init__(self, bootstrap: str, properties: Mapping[str, str]) -> None:
        self.log = KafkaEventLog(bootstrap, properties)
        self._raw = AdminClient({"bootstrap.servers": bootstrap})
        self._admin = self.log.admin()
        self._writers: list[LogWriter] = []
        self._subscriptions: list[Subscription] = []

    def writer(self) -> LogWriter:
        self._writers.append(self.log.writer())
        return self._writers[-1]

    def reader(self) -> LogReader:
        return self.log.reader()

    def subscriber(self) -> LogSubscriber:
        return _Remembering(self.log.subscriber(), self._subscriptions)

    def admin(self) -> LogAdmin:
        return self.log.admin()

    def delete_topic(self, name: str) -> None:
        self._raw.delete_topics([name], operation_timeout=30)[name].result()
        self.until(lambda: name not in self._admin.topics([name]))

    def trim(self, partition: TopicPartition, before: int) -> None:
        place = Place(partition.topic, partition.partition, before)
        for future in self._raw.delete_records([place]).values():
            future.result()

    def let_session_pass(self, meanwhile: Callable[[], object]) -> None:
        # librdkafka keeps a session alive by itself: what expels a member that does not poll is max.poll.interval.ms.
        deadline = time.monotonic() + SESSION_S + 1
        while time.monotonic() < deadline:
            meanwhile()

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        for writer in self._writers:
            writer.close(5)


class _Remembering(LogSubscriber):
    def __init__(self, subscriber: LogSubscriber, opened: list[Subscription]) -> None:
        self._subscriber = subscriber
        self._opened = opened

    def subscribe(self, group: str, topics: list[str], listener: SubscriptionListener) -> Subscription:  # type: ignore[override]
        self._opened.append(self._subscriber.subscribe(group, topics, listener))
        return self._opened[-1]


@pytest.fixture
def properties() -> Mapping[str, str]:
    return CLASSIC


@pytest.fixture
def log(kafka_service: KafkaService, properties: Mapping[str, str]) -> Iterator[EventLogHarness]:
    harness = KafkaHarness(kafka_service.bootstrap, properties)
    yield harness
    harness.close()


class TestKafkaWriter(LogWriterContract):
    pass


class TestKafkaReader(LogReaderContract):
    pass


class TestKafkaAdmin(LogAdminContract):
    pass


class TestKafkaSubscription(SubscriptionContract):
    pass


class TestKafkaSubscriptionOfTheNewProtocol(SubscriptionContract):
    """group.protocol=consumer (KIP-848): the broker assigns."""

    @pytest.fixture
    def properties(self) -> Mapping[str, str]:
        return KIP_848
