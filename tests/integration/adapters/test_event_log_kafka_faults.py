"""A broker that stops answering, or dies: what is said of each record, and that all goes on when it is back."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import pytest
from tests.contracts.event_log import record, stored
from tests.integration.conftest import promised
from tests.services.kafka import KafkaService, kafka

from streamlake.adapters.event_log.kafka import KafkaEventLog
from streamlake.domain.errors import LogUnavailable, NotStored, OperatorFault, OutcomeUnknown, SettingsInvalid
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import Appended, AppendOutcome
from streamlake.domain.ports.event_log import SubscriptionListener, TopicSpec

pytestmark = pytest.mark.kafka

FAST = {
    "delivery.timeout.ms": "6000",
    "session.timeout.ms": "6000",
    "socket.timeout.ms": "2000",
    "reconnect.backoff.max.ms": "500",
}


@pytest.fixture(scope="module")
def broken() -> Iterator[KafkaService]:
    """A Kafka of this module's own, to be broken."""
    with promised(kafka(faults=True)) as service:
        yield service


@pytest.fixture
def log(broken: KafkaService) -> KafkaEventLog:
    return KafkaEventLog(broken.bootstrap, FAST)


@pytest.fixture
def topic(log: KafkaEventLog, request: pytest.FixtureRequest) -> str:
    admin = log.admin()
    name = f"topic-{abs(hash(request.node.name))}"

    def created() -> bool:
        try:
            return admin.create_topic(TopicSpec(name, 1, 1, {"retention.ms": "-1"})) or name in admin.topics([name])
        except (LogUnavailable, SettingsInvalid):  # a broker just woken up may be fenced: none can have the replica
            return False

    eventually(created)
    admin.close()
    return name


def high(log: KafkaEventLog, topic: str, within_s: float = 30.0) -> int:
    """Where the log ends. A broker that was frozen is the leader again only after a moment."""
    place = TopicPartition(topic, 0)
    deadline = time.monotonic() + within_s
    while True:
        try:
            return log.admin().watermarks([place])[place].high
        except LogUnavailable:
            if time.monotonic() > deadline:
                raise


def eventually(condition: object, within_s: float = 30.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s} s"


class Listener(SubscriptionListener):
    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.told: list[str] = []

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.owned |= set(partitions)
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned -= set(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned -= set(partitions)

    def failed(self, partition: TopicPartition, fault: OperatorFault) -> None:
        self.told.append(f"{partition}: {fault}")


def test_a_broker_that_does_not_answer_in_time_leaves_every_outcome_unknown(
    broken: KafkaService, log: KafkaEventLog, topic: str
) -> None:
    writer = log.writer()
    stored(writer.append_and_wait([record(topic)]))
    broken.pause()
    try:
        began = time.monotonic()
        outcomes = writer.append_and_wait([record(topic) for _ in range(10)])
        assert time.monotonic() - began < 15
    finally:
        broken.resume()
    assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
    eventually(lambda: isinstance(writer.append_and_wait([record(topic)])[0], Appended))
    writer.close(5)


def test_what_close_leaves_undelivered_is_unknown_because_some_of_it_is_stored(
    broken: KafkaService, topic: str
) -> None:
    log = KafkaEventLog(broken.bootstrap, FAST | {"delivery.timeout.ms": "30000", "socket.timeout.ms": "1000"})
    writer = log.writer()
    stored(writer.append_and_wait([record(topic)]))
    told: list[Sequence[AppendOutcome]] = []
    broken.pause()
    try:
        writer.append([record(topic), record(topic)], told.append)
        # Long enough for the request to time out, so that librdkafka has its records in the queue again.
        writer.close(3)
    finally:
        broken.resume()
    assert [[type(outcome) for outcome in outcomes] for outcomes in told] == [[OutcomeUnknown, OutcomeUnknown]]
    eventually(lambda: high(log, topic) == 3)


def test_what_the_queue_does_not_take_is_certainly_not_stored(broken: KafkaService, topic: str) -> None:
    log = KafkaEventLog(broken.bootstrap, FAST | {"queue.buffering.max.messages": "100"})
    writer = log.writer()
    stored(writer.append_and_wait([record(topic)]))
    broken.pause()
    try:
        outcomes = writer.append_and_wait([record(topic) for _ in range(300)])
    finally:
        broken.resume()
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotStored)]
    taken = len(outcomes) - len(refused)
    assert taken in (99, 100), "librdkafka may give a delivered record's room back only after it was told"
    assert Counter(map(type, outcomes)) == {OutcomeUnknown: taken, NotStored: len(refused)}
    writer.close(5)
    assert 1 <= high(log, topic) <= 101


def test_a_broker_that_is_gone_is_said_to_be_unavailable_and_all_goes_on_when_it_is_back(
    broken: KafkaService, log: KafkaEventLog, topic: str
) -> None:
    place = TopicPartition(topic, 0)
    writer, listener = log.writer(), Listener()
    stored(writer.append_and_wait([record(topic), record(topic)]))
    subscription = log.subscriber().subscribe(f"group-{topic}", [topic], listener)
    read: list[int] = []

    def poll() -> bool:
        """Poll once; is the log unavailable?"""
        try:
            for batch in subscription.poll(100, 0.2):
                read.extend(batch.offsets)
        except LogUnavailable:
            return True
        return False

    eventually(lambda: not poll() and read == [0, 1])
    broken.kill()
    try:
        eventually(poll)
        began = time.monotonic()
        with pytest.raises(LogUnavailable):
            subscription.commit({place: Position(1)})
        with pytest.raises(LogUnavailable):
            log.admin().watermarks([place])
        assert isinstance(writer.append_and_wait([record(topic)])[0], OutcomeUnknown)
        assert time.monotonic() - began < 40
    finally:
        broken.restart()
    eventually(lambda: isinstance(writer.append_and_wait([record(topic)])[0], Appended))
    eventually(lambda: not poll() and len(read) >= 3)
    assert read[:2] == [0, 1]

    def committed() -> bool:
        poll()
        try:
            subscription.commit({place: Position(2, "after")})
        except LogUnavailable:
            return False
        return True

    eventually(committed)
    assert subscription.committed([place]) == {place: Position(2, "after")}
    assert listener.told == []
    subscription.close()
    writer.close(5)


def test_a_member_leaves_in_bounded_time_although_nobody_answers(
    broken: KafkaService, log: KafkaEventLog, topic: str
) -> None:
    listener = Listener()
    subscription = log.subscriber().subscribe(f"group-{topic}", [topic], listener)

    def owning() -> bool:
        with suppress(LogUnavailable):
            subscription.poll(100, 0.2)
        return bool(listener.owned)

    eventually(owning)
    broken.pause()
    try:
        began = time.monotonic()
        subscription.close()
        assert time.monotonic() - began < 15
    finally:
        broken.resume()
    assert listener.owned == set()


def test_a_reader_whose_broker_dies_in_mid_read_says_so(broken: KafkaService, topic: str) -> None:
    # Of 20 MB that do not compress only a little is fetched ahead.
    log = KafkaEventLog(broken.bootstrap, FAST | {"queued.max.messages.kbytes": "1024"})
    writer = KafkaEventLog(broken.bootstrap).writer()  # with the time that 20 MB may take
    stored(writer.append_and_wait([record(topic, value=random.Random(n).randbytes(1000)) for n in range(20_000)]))
    writer.close(5)
    batches = log.reader().read(TopicPartition(topic, 0), 0, 20_000)
    assert next(batches).offsets[0] == 0
    broken.kill()
    try:
        with pytest.raises(LogUnavailable):
            list(batches)
    finally:
        broken.restart()
