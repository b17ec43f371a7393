"""A consumer on its threads, in this process: what one thing that goes wrong must not take with it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.services.kafka import free_ports
from tests.unit.entrypoints.lake import DATASET, RAW, START, Lake, places

from streamlake.adapters.clock.manual import ManualClock
from streamlake.domain.errors import AccessDenied, LogUnavailable, ObjectDamaged, SettingsInvalid
from streamlake.domain.model.contracts import consumer_group
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.snapshots import commit_metadata
from streamlake.domain.ports.event_log import TopicSpec
from streamlake.domain.use_cases.control import CONTROL_TOPIC, StopOrder
from streamlake.entrypoints.consumer_daemon import DatasetConsumer
from streamlake.entrypoints.consumer_process import _look, _serve
from streamlake.entrypoints.halts import TRUNCATION_S, TruncationWatch
from streamlake.entrypoints.log_health import LogHealth

P0, P1 = TopicPartition(RAW, 0), TopicPartition(RAW, 1)
LONG_S = 600_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, memory=True, max_age_s=0.2)


@contextmanager
def running(consumer: DatasetConsumer) -> Iterator[list[Exception]]:
    """What its loop died of, if it did."""
    stop, died = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            consumer.run(stop)
        except Exception as error:  # noqa: BLE001 - told to the test
            died.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield died
    finally:
        stop.set()
        thread.join(30)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_turns(consumer: DatasetConsumer, count: int) -> None:
    """Until its loop has come round so often."""
    for _ in range(count):
        before = consumer._last_turn
        wait_for(lambda before=before: consumer._last_turn != before)  # type: ignore[misc]


def committed(consumer: DatasetConsumer, source: TopicPartition) -> int:
    at = consumer.positions.get(source)
    return 0 if at is None else at.offset


def test_a_partition_that_cannot_start_keeps_no_other_waiting(lake: Lake) -> None:
    """The first of them is committed beyond its log."""
    lake.put(0, [START] * 5)
    lake.put(1, [START] * 5)
    lake.admin.alter_group_offsets(consumer_group(DATASET), {P0: Position(100, commit_metadata(lake.topic_id))})
    consumer = lake.container.consumer(DATASET)
    with running(consumer):
        wait_for(lambda: committed(consumer, P1) == 5)
        assert list(consumer.halted) == [P0]
    assert lake.rows() == places((1, range(5)))


@pytest.mark.parametrize("fault", [ObjectDamaged("simulated"), AccessDenied("simulated")])
def test_a_roll_up_that_cannot_be_written_stops_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refused(*_: object, **__: object) -> Any:
        raise fault

    monkeypatch.setattr(lake.container.object_store(), "replace", refused)
    consumer = lake.container.consumer(DATASET)
    with running(consumer):
        for landed in (5, 10):
            lake.put(0, [START] * 5)
            wait_for(lambda landed=landed: committed(consumer, P0) == landed)  # type: ignore[misc]
        assert consumer.troubles == []


def test_without_its_landing_thread_a_consumer_ends(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lives on and lands nothing would look well to whoever restarts what is dead."""

    def broken(*_: object, **__: object) -> Any:
        raise MemoryError("simulated")

    monkeypatch.setattr(lake.container.object_store(), "create", broken)
    lake.put(0, [START])
    consumer = lake.container.consumer(DATASET)
    with running(consumer) as died:
        wait_for(lambda: died)
    assert [type(error) for error in died] == [MemoryError]


def test_an_order_to_stand_by_that_is_taken_back_while_it_drains_leaves_it_whole(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.admin.create_topic(TopicSpec(CONTROL_TOPIC, 1, 1, {}))
    store, control = lake.container.object_store(), lake.container.control()
    creating, go_on, create = threading.Event(), threading.Event(), store.create

    def slow(*given: Any, **named: Any) -> Any:
        creating.set()
        go_on.wait(30)
        return create(*given, **named)

    monkeypatch.setattr(store, "create", slow)
    lake.put(0, [START] * 5)
    consumer = lake.container.consumer(DATASET)
    until_ms = int(time.time() * 1000) + LONG_S
    with running(consumer):
        wait_for(creating.is_set)
        control.stop(DATASET, StopOrder("r", until_ms, "me", "now"), START)
        consumer.watch(lake.topic_id, {}, {}, [])
        wait_for(lambda: consumer.standing_by)
        control.go_on(DATASET, "me", "now", START)
        consumer.watch(lake.topic_id, {}, {}, [])
        go_on.set()
        lake.put(0, [START] * 5)
        wait_for(lambda: committed(consumer, P0) == 10)
    assert lake.rows() == places((0, range(10)))


@pytest.mark.parametrize("said", ['{"v":1,"state":"running"}', '{"v":1,"state":"halted","topic_id":7}', "[" * 10_000])
def test_what_is_no_decision_decides_nothing(lake: Lake, said: str) -> None:
    """Somebody's own tool wrote it: it must not end every consumer of the dataset, again at each restart."""
    lake.admin.create_topic(TopicSpec(CONTROL_TOPIC, 1, 1, {}))
    told = [(f"{DATASET}/0", said), (f"{DATASET}/stop", '{"v":1,"state":"stopped"}')]
    records = [OutgoingRecord(CONTROL_TOPIC, key.encode(), value.encode(), (), START, 0) for key, value in told]
    lake.container.writer().append_and_wait(records)
    lake.put(0, [START] * 5)
    consumer = lake.container.consumer(DATASET)
    with running(consumer):
        wait_for(lambda: committed(consumer, P0) == 5)


def test_a_consumer_whose_memory_others_hold_says_so(lake: Lake) -> None:
    budget = lake.container.budget()
    budget.report("another", 2 * budget.limit)
    lake.put(0, [START] * 5)
    consumer = lake.container.consumer(DATASET)
    with running(consumer):
        wait_for(lambda: any("hold its memory budget" in trouble for trouble in consumer.troubles))
        budget.report("another", 0)
        wait_for(lambda: committed(consumer, P0) == 5)
        assert consumer.troubles == []


def test_while_the_log_does_not_answer_a_quiet_consumer_is_not_ready(lake: Lake) -> None:
    """Its polls are merely empty, as those of a quiet topic are; records, too, show that the log is back."""

    class Away:
        def topics(self, names: object) -> Any:
            raise LogUnavailable("topics: nobody answers")

    consumer, clock = lake.container.consumer(DATASET), lake.container.clock()
    with running(consumer):
        wait_for(lambda: len(consumer.owned) == 2)
        wait_for_turns(consumer, 1)
        an_answer, records = partial(_look, consumer, lake.admin, clock), partial(lake.put, 0, [START])
        for is_back in (an_answer, records):
            _look(consumer, Away(), clock)  # type: ignore[arg-type]
            told = [f"{DATASET}: LogUnavailable: topics: nobody answers"]
            assert consumer.troubles == told
            wait_for_turns(consumer, 3)
            assert consumer.troubles == told
            is_back()
            wait_for(lambda: consumer.troubles == [])


def test_what_a_poll_told_of_stands_until_the_log_has_answered() -> None:
    """Also beside an answer to what was asked before."""
    clock = ManualClock()
    health = LogHealth(clock)
    clock.advance(2.0)
    for asked, trouble in ((1.0, "LogUnavailable: poll"), (3.0, None)):
        health.poll_failed(LogUnavailable("poll"))
        health.answered(asked)
        assert health.trouble == trouble
    clock.advance(2.0)
    health.served()
    health.look_failed(3.5, LogUnavailable("topics"))
    assert health.trouble is None, "records came after that was asked"
    health.look_failed(5.0, LogUnavailable("topics"))
    assert health.trouble == "LogUnavailable: topics"
    health.answered(6.0)
    assert health.trouble is None
    clock.advance(3.0)
    health.poll_failed(AccessDenied("group"))
    health.answered(8.0)
    assert health.trouble == "AccessDenied: group", "the watcher needs no right to the group"
    clock.advance(2.0)
    health.served()
    assert health.trouble is None


def test_what_lands_while_the_log_is_asked_for_its_end_is_not_beyond_it(lake: Lake) -> None:
    """Else a log that grows fast would look cut short, and its partitions would be halted for good."""
    consumer, order = lake.container.consumer(DATASET), list[str]()
    live_ends, watermarks = consumer.live_ends, lake.admin.watermarks

    class Admin:
        topics = staticmethod(lake.admin.topics)

        @staticmethod
        def watermarks(*given: Any) -> Any:
            order.append("log")
            return watermarks(*given)

    def landed() -> dict[TopicPartition, int]:
        order.append("landed")
        return live_ends()

    consumer.live_ends = landed  # type: ignore[method-assign]
    _look(consumer, Admin(), lake.container.clock())  # type: ignore[arg-type]
    assert order == ["landed", "log"]


def test_a_log_is_cut_short_where_it_ends_below_what_had_landed_for_a_minute() -> None:
    watch = TruncationWatch()
    for now, landed in ((0.0, 7), (TRUNCATION_S - 1, 7)):
        watch.compare({P0: landed}, {P0: Watermarks(0, 5), P1: Watermarks(0, 0)}, now)
    assert watch.take() == {}
    watch.compare({P0: 7}, {P0: Watermarks(0, 5)}, TRUNCATION_S)
    assert list(watch.take()) == [P0]


def test_a_probe_that_says_nothing_keeps_no_other_waiting() -> None:
    [port] = free_ports(1)
    server = _serve([], CollectorRegistry(), "127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
            assert json.load(answer) == {"ok": True, "problems": []}
        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1:{port}"):
            _serve([], CollectorRegistry(), "127.0.0.1", port)
        server.shutdown()
    server.server_close()
