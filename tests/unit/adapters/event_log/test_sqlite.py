"""The log in a file keeps every promise of the port, and its own: processes, forks, kill -9, a busy or full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.event_log import (
    EventLogHarness,
    LogAdminContract,
    LogReaderContract,
    LogWriterContract,
    Member,
    SubscriptionContract,
    offsets_of,
    partitions_of,
    record,
    stored,
)

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.clock.system import SystemClock
from streamlake.adapters.event_log.sqlite import SqliteEventLog
from streamlake.adapters.event_log.sqlite.database import FAULTS, Database
from streamlake.adapters.event_log.sqlite.writer import SqliteWriter
from streamlake.domain.errors import (
    AccessDenied,
    LogUnavailable,
    NotAMember,
    NotStored,
    OutcomeUnknown,
    SettingsInvalid,
    TopicMissing,
    WriterFailed,
)
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import AppendOutcome
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import (
    GroupInfo,
    LogAdmin,
    LogReader,
    LogSubscriber,
    LogWriter,
    Subscription,
    TopicSpec,
)


class SqliteHarness(EventLogHarness):
    session_s = 30.0

    def __init__(self, path: Path, clock: Clock | None = None, session_s: float = 30.0) -> None:
        self.clock = ManualClock()
        self.session_s = session_s
        self.path = path
        self.log = SqliteEventLog(path, clock or self.clock, session_timeout_s=session_s)
        self._writers: list[LogWriter] = []
        self._subscribers: list[_Closing] = []
        self._admin = self.log.admin()

    def writer(self) -> LogWriter:
        self._writers.append(self.log.writer())
        return self._writers[-1]

    def reader(self) -> LogReader:
        return self.log.reader()

    def subscriber(self) -> LogSubscriber:
        self._subscribers.append(_Closing(self.log.subscriber()))
        return self._subscribers[-1]

    def admin(self) -> LogAdmin:
        return self._admin

    def delete_topic(self, name: str) -> None:
        self.log.delete_topic(name)

    def trim(self, partition: TopicPartition, before: int) -> None:
        self.log.trim(partition, before)

    def let_session_pass(self, meanwhile: Callable[[], object]) -> None:
        self.clock.advance(self.session_s + 1)
        meanwhile()

    def close(self) -> None:
        for writer in self._writers:
            writer.close(1)
        for subscriber in self._subscribers:
            subscriber.close()
        self._admin.close()


class _Closing(LogSubscriber):
    """Remembers what it opens, to close it."""

    def __init__(self, inner: LogSubscriber) -> None:
        self._inner = inner
        self._opened: list[Subscription] = []

    def subscribe(self, group: str, topics: Sequence[str], listener: object) -> Subscription:
        assert isinstance(listener, Member)
        self._opened.append(self._inner.subscribe(group, topics, listener))
        return self._opened[-1]

    def close(self) -> None:
        for subscription in self._opened:
            subscription.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteHarness]:
    harness = SqliteHarness(tmp_path / "log" / "events.db")
    yield harness
    harness.close()


class TestSqliteWriter(LogWriterContract):
    """`SqliteEventLog` as a `LogWriter`."""


class TestSqliteReader(LogReaderContract):
    """`SqliteEventLog` as a `LogReader`."""


class TestSqliteSubscription(SubscriptionContract):
    """`SqliteEventLog` as a `LogSubscriber`."""


class TestSqliteAdmin(LogAdminContract):
    """`SqliteEventLog` as a `LogAdmin`."""


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs this code; killed at the end if it still runs."""
    command = [sys.executable, "-u", "-c", PRELUDE + textwrap.dedent(code), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


PRELUDE = """
import sys
from streamlake.adapters.clock.system import SystemClock
from streamlake.adapters.event_log.sqlite import SqliteEventLog
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.ports.event_log import SubscriptionListener, TopicSpec
path = sys.argv[1]
"""

APPENDS_FOREVER = """
log = SqliteEventLog(path, SystemClock())
log.admin().create_topic(TopicSpec("t", 1, 1))
writer, n = log.writer(), 0
while True:
    made = [OutgoingRecord("t", None, b"%s-%d" % (sys.argv[2].encode(), n + i), (), 1, 0) for i in range(3)]
    outcomes = writer.append_and_wait(made)
    n += 3
    print(" ".join(f"{o.offset}={r.value.decode()}" for o, r in zip(outcomes, made)), flush=True)
"""

MEMBER_FOREVER = """
class Listener(SubscriptionListener):
    def assigned(self, partitions):
        print("assigned", flush=True)
        return dict.fromkeys(partitions, 0)
    def revoked(self, partitions): pass
    def lost(self, partitions): pass
    def failed(self, partition, fault): pass
log = SqliteEventLog(path, SystemClock(), session_timeout_s=1.0)
subscription = log.subscriber().subscribe("group", ["t"], Listener())
while True:
    subscription.poll(100, 0.1)
"""


def acknowledged(lines: Sequence[str]) -> dict[int, bytes]:
    """Offset -> value of what a child said was stored; its last line may be torn by the kill."""
    whole = [line for line in lines if line.endswith("\n")]
    pairs = [word.split("=") for line in whole for word in line.split()]
    return {int(offset): value.encode() for offset, value in pairs}


def content(log: EventLogHarness, place: TopicPartition) -> dict[int, bytes | None]:
    """Everything in a partition."""
    high = log.admin().watermarks([place])[place].high
    batches = list(log.reader().read(place, 0, high))
    return dict(zip(offsets_of(batches), (v for b in batches for v in b.values), strict=True))


def test_a_file_that_another_creates_between_two_looks_is_no_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks see one moment, so the other has to wait, or comes too late; either way both are of one log."""
    path, others = tmp_path / "events.db", list[SqliteEventLog]()

    class Looked(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA user_version" and not others:
                others.append(SqliteEventLog(path, SystemClock(), busy_timeout_s=0.1))
                with suppress(LogUnavailable):
                    others[0].admin().create_topic(TopicSpec("other", 1, 1))
            return super().execute(sql, *parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Looked))
    ours = SqliteEventLog(path, SystemClock())
    assert ours.admin().create_topic(TopicSpec("ours", 1, 1))
    others[0].admin().create_topic(TopicSpec("other", 1, 1))
    assert ours.admin().topics().keys() == {"ours", "other"}


def test_two_processes_append_at_once_and_every_offset_is_given_once(log: SqliteHarness) -> None:
    place = TopicPartition("t", 0)
    with child(APPENDS_FOREVER, str(log.path), "a") as first, child(APPENDS_FOREVER, str(log.path), "b") as second:
        assert first.stdout
        assert second.stdout
        lines = [stdout.readline() for _ in range(30) for stdout in (first.stdout, second.stdout)]
    told = [acknowledged([line]) for line in lines]
    offsets = [offset for one in told for offset in one]
    assert len(set(offsets)) == len(offsets) == 180
    found = content(log, place)
    assert list(found) == list(range(len(found)))
    assert all(found[offset] == value for one in told for offset, value in one.items())


def test_kill_9_amid_appends_loses_nothing_acknowledged_and_leaves_no_hole(log: SqliteHarness) -> None:
    place, told = TopicPartition("t", 0), dict[int, bytes]()
    for life in range(3):
        with child(APPENDS_FOREVER, str(log.path), f"life{life}") as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(10 + life)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        told |= acknowledged(lines)
    found = content(log, place)
    assert list(found) == list(range(len(found)))
    assert {offset: found[offset] for offset in told} == told
    assert len(set(found.values())) == len(found), "no append is in the log twice"
    assert [o.offset for o in log.append([record("t")])] == [len(found)]


def test_a_killed_consumer_is_expelled_and_its_partitions_are_taken_over(tmp_path: Path) -> None:
    log = SqliteHarness(tmp_path / "events.db", SystemClock(), session_s=1.0)
    log.create_topic(partitions=2, name="t")
    with child(MEMBER_FOREVER, str(log.path)) as process:
        assert process.stdout
        assert process.stdout.readline() == "assigned\n"
        heir = Member(log, "group", ["t"])
        log.until(lambda: len(heir.owned) == 1, heir)
        process.send_signal(signal.SIGKILL)
        process.wait()
        log.until(lambda: heir.owned == set(partitions_of("t", 2)), heir)
    log.until(lambda: len(log.admin().group("group").members) == 1, heir)
    log.close()


def test_what_was_opened_before_a_fork_works_in_parent_and_child(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    log.fill(place, 1)
    reader, admin = log.reader(), log.admin()
    unused_writer = log.log.writer()
    assert offsets_of(reader.read(place, 0, 9)) == [0]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            stored(unused_writer.append_and_wait([record(place.topic)]))
            assert admin.watermarks([place]) == {place: Watermarks(0, 2)}
            assert offsets_of(reader.read(place, 0, 9)) == [0, 1]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    stored(unused_writer.append_and_wait([record(place.topic)]))
    unused_writer.close(5)
    assert offsets_of(reader.read(place, 0, 9)) == [0, 1, 2]
    assert admin.watermarks([place]) == {place: Watermarks(0, 3)}


def test_a_writer_that_has_lost_its_thread_to_a_fork_says_so(log: SqliteHarness) -> None:
    topic = log.create_topic()
    writer = log.writer()
    assert isinstance(writer, SqliteWriter)
    stored(writer.append_and_wait([record(topic)]))
    with writer._condition:  # not while the thread holds it: the child could never have it
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (outcome,) = writer.append_and_wait([record(topic)])
            status = 0 if isinstance(outcome, WriterFailed) else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes, and takes his time."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_while_another_process_holds_the_file_nothing_is_stored_and_afterwards_it_is(log: SqliteHarness) -> None:
    topic = log.create_topic()
    impatient = SqliteEventLog(log.path, log.clock, busy_timeout_s=0.05)
    writer, admin = impatient.writer(), impatient.admin()
    with locked(log.path):
        (outcome,) = writer.append_and_wait([record(topic)])
        assert isinstance(outcome, NotStored)
        with pytest.raises(LogUnavailable, match="SQLITE_BUSY"):
            admin.configure_topic(topic, {})
        assert admin.watermarks([TopicPartition(topic, 0)])[TopicPartition(topic, 0)].high == 0, "reading goes on"
    (stored_one,) = stored(writer.append_and_wait([record(topic)]))
    assert stored_one.offset == 0
    writer.close(5)
    admin.close()


def test_a_poll_that_cannot_give_its_sign_of_life_says_so_and_works_later(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    log.log = SqliteEventLog(log.path, log.clock, busy_timeout_s=0.05)
    member = Member(log, "group", [place.topic])
    log.until(lambda: member.owned == {place}, member)
    log.fill(place, 2)
    log.clock.advance(20)
    with locked(log.path):
        with pytest.raises(LogUnavailable):
            member.subscription.poll(10, 0)
        with pytest.raises(LogUnavailable):
            member.subscription.commit({place: Position(1)})
    log.until(lambda: member.read[place] == [0, 1], member)
    member.subscription.commit({place: Position(2)})


def test_a_wait_that_ends_too_early_does_not_claim_to_know(log: SqliteHarness) -> None:
    topic = log.create_topic()
    log.log = SqliteEventLog(log.path, log.clock, delivery_timeout_s=0.5)
    writer = log.writer()
    with locked(log.path):
        (in_flight,) = writer.append_and_wait([record(topic)])
        (queued,) = writer.append_and_wait([record(topic)])
    assert isinstance(in_flight, OutcomeUnknown)
    assert isinstance(queued, NotStored)
    writer.close(5)
    assert log.admin().watermarks([TopicPartition(topic, 0)])[TopicPartition(topic, 0)].high == 1


def test_close_decides_everything_within_its_time(log: SqliteHarness) -> None:
    topic = log.create_topic()
    writer = SqliteWriter(Database(log.path, 5.0), 5.0)
    told: list[Sequence[AppendOutcome]] = []
    with locked(log.path):
        writer.append([record(topic)], told.append)
        log.until(lambda: not writer._queue)  # until the first is in flight
        writer.append([record(topic)], told.append)
        writer.close(0.05)
        assert sorted(type(outcomes[0]).__name__ for outcomes in told) == ["NotStored", "OutcomeUnknown"]
    assert writer._thread
    writer._thread.join(5)
    assert len(told) == 2


def commits_in(wal: Path) -> int:
    """How many transactions are in a write-ahead log: frames that carry the size of the database end one."""
    data = wal.read_bytes()
    page = int.from_bytes(data[8:12], "big")
    return sum(data[at + 4 : at + 8] != b"\0\0\0\0" for at in range(32, len(data), 24 + page))


def test_appends_that_come_in_during_one_commit_share_the_next(log: SqliteHarness) -> None:
    topic = log.create_topic()
    writer = log.writer()
    stored(writer.append_and_wait([record(topic)]))
    wal = log.path.with_name(log.path.name + "-wal")
    before = commits_in(wal)
    told: list[Sequence[AppendOutcome]] = []
    with locked(log.path):
        for _ in range(300):
            writer.append([record(topic)], told.append)
    log.until(lambda: len(told) == 300)
    assert [o.offset for outcomes in told for o in stored(outcomes)] == list(range(1, 301))
    assert commits_in(wal) - before <= 2


class _SmallDisk(Database):
    """A file that cannot grow beyond its first few pages."""

    def connect(self) -> sqlite3.Connection:
        connection = super().connect()
        connection.execute("PRAGMA max_page_count = 40")
        return connection


def test_what_does_not_fit_on_the_disk_is_not_stored_and_leaves_no_hole(log: SqliteHarness) -> None:
    topic = log.create_topic()
    writer = SqliteWriter(_SmallDisk(log.path, 1.0), 5.0)
    (full,) = writer.append_and_wait([record(topic, value=bytes(500_000))])
    assert isinstance(full, NotStored)
    assert "SQLITE_FULL" in str(full)
    (small,) = stored(writer.append_and_wait([record(topic)]))
    assert small.offset == 0
    writer.close(5)


def test_a_full_queue_refuses_and_does_not_block(log: SqliteHarness) -> None:
    topic = log.create_topic()
    writer = log.writer()
    told: list[Sequence[AppendOutcome]] = []
    with locked(log.path):
        for _ in range(14):  # 100,000 wait at most, and 20,000 more are in the thread's hands, or not yet
            writer.append([record(topic, value=None)] * 10_000, told.append)
        refused = Counter(type(o) for outcomes in told for o in outcomes)
        assert set(refused) == {NotStored}
    log.until(lambda: len(told) == 14)
    kinds = Counter(type(o).__name__ for outcomes in told for o in outcomes)
    assert kinds == {"Appended": 140_000 - refused[NotStored], "NotStored": refused[NotStored]}


def test_a_callback_that_raises_ends_the_writer_and_nobody_waits_for_ever(
    log: SqliteHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _arguments: None)
    topic = log.create_topic()
    writer = SqliteWriter(Database(log.path, 5.0), 5.0)

    def broken(_outcomes: Sequence[AppendOutcome]) -> None:
        raise ZeroDivisionError

    writer.append([record(topic)], broken)
    log.until(lambda: writer._thread is not None and not writer._thread.is_alive())
    (outcome,) = writer.append_and_wait([record(topic)])
    assert isinstance(outcome, WriterFailed)


def test_the_file_and_its_folder_are_made_by_who_writes_and_not_by_who_looks(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "events.db"
    log = SqliteEventLog(path, ManualClock())
    admin, reader, lane = log.admin(), log.reader(), TopicPartition("t", 0)
    assert admin.topics() == {}
    assert admin.group("g") == GroupInfo("g", "Dead", [])
    assert admin.group_offsets("g", [lane]) == {}
    for ask in (lambda: admin.watermarks([lane]), lambda: reader.read(lane, 0, 1)):
        with pytest.raises(TopicMissing):
            ask()
    assert not path.parent.exists()
    admin.create_topic(TopicSpec("t", 1, 1))
    assert path.exists()
    assert admin.watermarks([lane]) == {lane: Watermarks(0, 0)}
    assert list(reader.read(lane, 0, 1)) == []
    admin.close()


def test_a_reopened_log_is_the_same_log_and_another_file_is_another(tmp_path: Path) -> None:
    ids = []
    for path in (tmp_path / "one.db", tmp_path / "one.db", tmp_path / "other.db"):
        admin = SqliteEventLog(path, ManualClock()).admin()
        admin.create_topic(TopicSpec("t", 1, 1))
        ids.append(admin.topics()["t"].topic_id)
        admin.close()
    assert ids[0] == ids[1] != ids[2]


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("this is no database, and long enough for that to be seen" * 20)
    other = sqlite3.connect(database)
    other.execute("CREATE TABLE precious (x)")
    other.close()
    for path in (text, database):
        with pytest.raises(SettingsInvalid, match=path.name):
            SqliteEventLog(path, ManualClock()).admin().topics()


def test_a_log_that_may_not_be_written_says_so(log: SqliteHarness) -> None:
    database = Database(log.path, 1.0)
    log.admin().create_topic(TopicSpec("t", 1, 1))
    connection = sqlite3.connect(f"file:{log.path}?mode=ro", uri=True)
    with pytest.raises(AccessDenied, match="SQLITE_READONLY"), database.faults():
        connection.execute("DELETE FROM topic")
    connection.close()


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("detail", [0, 1, 10])
def test_errors_of_sqlite_are_told_by_whose_fault_they_are_with_or_without_details(code: int, detail: int) -> None:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode, error.sqlite_errorname = code | detail << 8, "SQLITE_NAME"
    with pytest.raises(FAULTS[code], match=r"event log /x/y: SQLITE_NAME: text"), Database(Path("/x/y"), 0).faults():
        raise error


def test_a_mistake_of_ours_is_not_passed_off_as_the_worlds() -> None:
    with pytest.raises(sqlite3.ProgrammingError), Database(Path("/x/y"), 0).faults():
        sqlite3.connect(":memory:").execute("SELECT ?", ())
    with pytest.raises(sqlite3.OperationalError), Database(Path("/x/y"), 0).faults():
        sqlite3.connect(":memory:").execute("SELECT nothing")


def test_partitions_added_to_a_topic_reach_the_members(log: SqliteHarness) -> None:
    topic = log.create_topic()
    member = Member(log, "group", [topic])
    log.until(lambda: len(member.owned) == 1, member)
    log.admin().add_partitions(topic, 3)
    log.fill(TopicPartition(topic, 2), 1)
    log.until(lambda: member.read[TopicPartition(topic, 2)] == [0], member)


def test_a_topic_deleted_under_a_member_is_lost_and_its_successor_is_assigned_anew(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    log.fill(place, 3)
    member = Member(log, "group", [place.topic])
    log.until(lambda: member.read[place] == [0, 1, 2], member)
    log.delete_topic(place.topic)
    log.create_topic(name=place.topic)
    log.fill(place, 1)
    with pytest.raises(NotAMember):
        member.subscription.commit({place: Position(3)})
    log.until(lambda: member.read[place] == [0, 1, 2, 0], member)
    assert [what for what, _ in member.told] == ["assigned", "lost", "assigned"]


def test_a_topic_that_is_gone_is_missing(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    member = Member(log, "group", [place.topic])
    log.until(lambda: member.owned == {place}, member)
    log.delete_topic(place.topic)
    with pytest.raises(TopicMissing):
        member.poll()
    assert member.owned == set()
    with pytest.raises(TopicMissing):
        member.subscription.commit({place: Position(3)})


def test_an_assignment_whose_telling_failed_is_told_again(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    log.fill(place, 1)
    answers: list[Mapping[TopicPartition, int] | None] = [None, {place: 0}]

    def starts(member: Member, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        answer = answers.pop(0)
        if answer is None:
            member.owned -= set(partitions)
            raise LogUnavailable("no answer")
        return answer

    member = Member(log, "group", [place.topic], starts)
    log.until(lambda: member.read[place] == [0], member)


def test_a_member_is_alive_by_the_wall_clock_also_when_that_is_set_back(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    dead = Member(log, "group", [place.topic])
    log.until(lambda: dead.owned == {place}, dead)
    log.clock.set(ManualClock().now().replace(year=2020))
    log.clock.advance(log.session_s + 1)
    heir = Member(log, "group", [place.topic])
    log.until(lambda: heir.owned == {place}, heir)


def test_an_idle_poll_waits_as_long_as_it_is_told_and_costs_next_to_nothing(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(), 0)
    member = Member(log, "group", [place.topic])
    log.until(lambda: member.owned == {place}, member)
    member.poll()
    began, used = time.monotonic(), time.thread_time()
    member.poll(timeout_s=1.0)
    assert time.monotonic() - began >= 0.95
    assert time.thread_time() - used < 0.05, "a generous bound for a busy machine: 0.002 is usual"


def test_records_of_any_size_are_read_in_batches_of_bounded_bytes(log: SqliteHarness) -> None:
    place = TopicPartition(log.create_topic(config={"max.message.bytes": "4000000"}), 0)
    sizes = [10] * 40 + [3_000_000] * 20 + [10] * 40
    log.append([record(place.topic, value=bytes(size)) for size in sizes])
    batches = list(log.reader().read(place, 0, 100))
    assert [len(v or b"") for b in batches for v in b.values] == sizes
    assert len(batches) > 2
