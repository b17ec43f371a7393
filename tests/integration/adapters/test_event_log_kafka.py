"""The event log on a real Apache Kafka: every promise of the port, and what only Kafka can do to it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from tests.contracts.event_log import (
    EventLogHarness,
    LogAdminContract,
    LogReaderContract,
    LogWriterContract,
    Member,
    SubscriptionContract,
    from_committed,
    offsets_of,
    owned_once,
    partitions_of,
)
from tests.services.kafka import KafkaService

from streamlake.adapters.event_log.kafka import KafkaEventLog
from streamlake.domain.errors import NotAMember
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.ports.event_log import (
    LogAdmin,
    LogReader,
    LogSubscriber,
    LogWriter,
    Subscription,
    SubscriptionListener,
)

pytestmark = pytest.mark.kafka

SESSION_S = 12.0
"""Short enough to wait for, and longer than a busy machine keeps a test from polling."""

CLASSIC = {"session.timeout.ms": "12000", "heartbeat.interval.ms": "500", "max.poll.interval.ms": "12000"}
KIP_848 = {"group.protocol": "consumer", "max.poll.interval.ms": "12000"}


class KafkaHarness(EventLogHarness):
    """Real clients of one Kafka, with sessions short enough to wait for."""

    session_s = SESSION_S
    deadline_s = 60.0

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

    def subscribe(self, group: str, topics: Sequence[str], listener: SubscriptionListener) -> Subscription:
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


@contextmanager
def transaction(bootstrap: str, *, commit: bool) -> Iterator[Producer]:
    """A transaction of another program; what it has sent is in the log before it ends."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


class TestTransactionsOfOtherPrograms:
    """They leave what must not be seen, and offsets without records: markers, and what was aborted."""

    @pytest.fixture
    def place(self, log: EventLogHarness, kafka_service: KafkaService) -> TopicPartition:
        """Offsets 0-1 plain, 2-4 aborted, 5 its marker, 6-7 committed, 8 its marker."""
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 2)
        for count, commit in ((3, False), (2, True)):
            with transaction(kafka_service.bootstrap, commit=commit) as producer:
                for _ in range(count):
                    producer.produce(place.topic, b"t", partition=0)
        log.until(lambda: log.admin().watermarks([place])[place].high == 9)
        return place

    @pytest.mark.parametrize(
        ("start", "until", "seen"),
        [(0, 9, [0, 1, 6, 7]), (0, 6, [0, 1]), (2, 6, []), (3, 7, [6]), (7, 9, [7]), (8, 9, []), (5, 1000, [6, 7])],
    )
    def test_a_read_sees_what_was_committed_and_ends_also_where_its_range_ends_in_a_gap(
        self, log: EventLogHarness, place: TopicPartition, start: int, until: int, seen: list[int]
    ) -> None:
        assert offsets_of(log.reader().read(place, start, until)) == seen

    def test_a_subscription_sees_what_was_committed(self, log: EventLogHarness, place: TopicPartition) -> None:
        member = Member(log, log.unique("group"), [place.topic])
        log.until(lambda: member.read[place] == [0, 1, 6, 7], member)

    def test_a_read_ends_before_a_transaction_that_is_still_open(
        self, log: EventLogHarness, kafka_service: KafkaService, place: TopicPartition
    ) -> None:
        with transaction(kafka_service.bootstrap, commit=True) as producer:
            producer.produce(place.topic, b"open", partition=0)
            producer.flush(30)
            log.fill(place, 1)
            assert log.admin().watermarks([place])[place].high == 9
            assert offsets_of(log.reader().read(place, 7, 1000)) == [7]
        log.until(lambda: offsets_of(log.reader().read(place, 7, 1000)) == [7, 9, 10])


class TestKafkaListener:
    """What crosses librdkafka's callbacks."""

    @pytest.fixture(params=[CLASSIC, KIP_848], ids=["classic", "consumer"])
    def properties(self, request: pytest.FixtureRequest) -> Mapping[str, str]:
        chosen: Mapping[str, str] = request.param
        return chosen

    def test_what_assigned_raises_comes_out_of_poll_and_its_partitions_are_held(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 2)

        def refuse(_member: Member, _partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
            raise ZeroDivisionError("of the listener")

        member = Member(log, log.unique("group"), [place.topic], refuse)

        def raised() -> bool:
            try:
                member.poll()
            except ZeroDivisionError:
                return True
            return False

        log.until(raised)
        assert member.poll() == []
        member.subscription.start(place, 1)
        log.until(lambda: member.read[place] == [1], member)

    def test_what_revoked_raises_comes_out_of_close_and_the_group_is_left(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(), 0), log.unique("group")
        member = Member(log, group, [place.topic])
        log.until(lambda: member.owned == {place}, member)

        def refuse(_partitions: Sequence[TopicPartition]) -> None:
            raise ZeroDivisionError("of the listener")

        member.before_revoked = refuse
        with pytest.raises(ZeroDivisionError):
            member.subscription.close()
        log.until(lambda: log.admin().group(group).state in ("Empty", "Dead"))

    def test_committed_positions_can_be_looked_up_within_assigned(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(), 0), log.unique("group")
        log.fill(place, 3)
        log.admin().alter_group_offsets(group, {place: Position(2)})
        member = Member(log, group, [place.topic], from_committed)
        log.until(lambda: member.read[place] == [2], member)

    def test_a_partition_of_another_member_cannot_be_committed(self, log: EventLogHarness) -> None:
        topic, group = log.create_topic(partitions=2), log.unique("group")
        members = [Member(log, group, [topic]) for _ in range(2)]
        log.until(lambda: owned_once(members, partitions_of(topic, 2)), *members)
        (theirs,) = members[1].owned
        with pytest.raises(NotAMember):
            members[0].subscription.commit({theirs: Position(1)})
        assert members[0].subscription.committed([theirs]) == {}

    def test_a_partition_paused_when_it_was_given_up_is_read_when_it_comes_back(self, log: EventLogHarness) -> None:
        topic, group = log.create_topic(partitions=2), log.unique("group")
        places = partitions_of(topic, 2)
        first = Member(log, group, [topic])
        log.until(lambda: first.owned == set(places), first)
        first.subscription.pause(places)
        second = Member(log, group, [topic])
        log.until(lambda: owned_once([first, second], places), first, second)
        (moved,) = second.owned
        second.subscription.close()
        log.until(lambda: first.owned == set(places), first)
        log.fill(moved, 2)
        log.until(lambda: first.read[moved] == [0, 1], first)


def test_a_poll_returns_as_soon_as_there_is_a_record(log: EventLogHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    member = Member(log, log.unique("group"), [place.topic])
    log.until(lambda: member.owned == {place}, member)
    log.fill(place, 1)
    began = time.monotonic()
    log.until(lambda: bool(member.poll(max_records=10_000, timeout_s=5.0)))
    assert time.monotonic() - began < 4
