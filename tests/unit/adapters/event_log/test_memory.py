"""The log in memory keeps every promise of the port, and one of its own: the same calls give the same answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.contracts.event_log import (
    EventLogHarness,
    LogAdminContract,
    LogReaderContract,
    LogWriterContract,
    Member,
    SubscriptionContract,
    record,
)

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogSubscriber, LogWriter, TopicSpec


class MemoryHarness(EventLogHarness):
    session_s = 30.0

    def __init__(self, wait: Callable[[float], object] | None = None) -> None:
        self.clock = ManualClock()
        self.log = MemoryEventLog(self.clock, session_timeout_s=self.session_s, wait=wait)

    def writer(self) -> LogWriter:
        return self.log.writer()

    def reader(self) -> LogReader:
        return self.log.reader()

    def subscriber(self) -> LogSubscriber:
        return self.log.subscriber()

    def admin(self) -> LogAdmin:
        return self.log.admin()

    def delete_topic(self, name: str) -> None:
        self.log.delete_topic(name)

    def trim(self, partition: TopicPartition, before: int) -> None:
        self.log.trim(partition, before)

    def let_session_pass(self, meanwhile: Callable[[], object]) -> None:
        self.clock.advance(self.session_s + 1)
        meanwhile()


@pytest.fixture
def log() -> EventLogHarness:
    return MemoryHarness()


class TestMemoryWriter(LogWriterContract):
    """`MemoryEventLog` as a `LogWriter`."""


class TestMemoryReader(LogReaderContract):
    """`MemoryEventLog` as a `LogReader`."""


class TestMemorySubscription(SubscriptionContract):
    """`MemoryEventLog` as a `LogSubscriber`."""


class TestMemoryAdmin(LogAdminContract):
    """`MemoryEventLog` as a `LogAdmin`."""


def test_the_same_calls_give_the_same_places_and_topic_ids() -> None:
    def story() -> tuple[object, ...]:
        log = MemoryEventLog(ManualClock())
        log.admin().create_topic(TopicSpec("t", 3, 1))
        outcomes = log.writer().append_and_wait([record("t", key=k) for k in (None, b"a", None, b"b", None)])
        return list(outcomes), log.admin().topics()

    assert story() == story()


def test_records_without_a_key_are_spread_over_all_partitions() -> None:
    log = MemoryEventLog(ManualClock())
    log.admin().create_topic(TopicSpec("t", 3, 1))
    log.writer().append_and_wait([record("t") for _ in range(9)])
    places = [TopicPartition("t", n) for n in range(3)]
    assert [marks.high for marks in log.admin().watermarks(places).values()] == [3, 3, 3]


def test_a_poll_without_records_waits_as_it_is_told_for_as_long_as_it_is_told() -> None:
    waited: list[float] = []
    harness = MemoryHarness(wait=waited.append)
    member = Member(harness, "group", [harness.create_topic()])
    member.poll(timeout_s=0.12)
    assert waited == pytest.approx([0.05, 0.05, 0.02])


def test_a_poll_that_can_wait_in_no_way_returns_at_once() -> None:
    harness = MemoryHarness()
    assert Member(harness, "group", [harness.create_topic()]).poll(timeout_s=1e9) == []


def test_topics_of_two_logs_have_ids_of_their_own() -> None:
    ids = set()
    for log_id in ("one", "other"):
        log = MemoryEventLog(ManualClock(), log_id=log_id)
        log.admin().create_topic(TopicSpec("t", 1, 1))
        ids.add(log.admin().topics()["t"].topic_id)
    assert len(ids) == 2
