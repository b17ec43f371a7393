"""What every event log promises: subclass the four contracts and supply one fixture, `log`.

    @pytest.fixture
    def log() -> Iterator[EventLogHarness]: ...          # in the module of the adapter's tests

    class TestKafkaWriter(LogWriterContract): ...
    class TestKafkaReader(LogReaderContract): ...
    class TestKafkaSubscription(SubscriptionContract): ...
    class TestKafkaAdmin(LogAdminContract): ...

Nothing here sleeps: conditions are polled for until they hold, or `deadline_s` has passed.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamlake.domain.errors import (
    GroupActive,
    LogUnavailable,
    NotAMember,
    NotStored,
    OperatorFault,
    PositionLost,
    RecordTooLarge,
    SettingsInvalid,
    TopicMissing,
)
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.records import Appended, AppendOutcome, Header, OutgoingRecord, RecordBatch
from streamlake.domain.ports.event_log import (
    LogAdmin,
    LogReader,
    LogSubscriber,
    LogWriter,
    SubscriptionListener,
    TopicSpec,
)

T0 = 1_700_000_000_000
"""A record timestamp in the past: brokers refuse those far in the future."""

MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""The vectors of Apache Kafka's own UtilsTest.testMurmur2."""


class EventLogHarness(ABC):
    """What an adapter supplies to be tested: its roles, and a hand on the world around them.

    Whatever it hands out it also closes, in its own teardown; the tests may have closed it before.
    """

    deadline_s: float = 30.0
    """How long a condition may take to come true."""

    session_s: float
    """The session timeout of the group members made here."""

    @abstractmethod
    def writer(self) -> LogWriter:
        """A writer of its own."""

    @abstractmethod
    def reader(self) -> LogReader:
        """A reader."""

    @abstractmethod
    def subscriber(self) -> LogSubscriber:
        """What opens subscriptions; each subscription is another member, as if in another process."""

    @abstractmethod
    def admin(self) -> LogAdmin:
        """An admin."""

    @abstractmethod
    def delete_topic(self, name: str) -> None:
        """Delete a topic, and return when it is gone. The port has no such thing on purpose."""

    @abstractmethod
    def trim(self, partition: TopicPartition, before: int) -> None:
        """Do as retention does: drop the records below `before`, which becomes the low watermark."""

    @abstractmethod
    def let_session_pass(self, meanwhile: Callable[[], object]) -> None:
        """Let so much time pass that a member that does not poll is expelled. `meanwhile` polls the others: call it
        often enough for them to stay."""

    def unique(self, word: str) -> str:
        """A name that nobody used before, also not in an earlier run against the same servers."""
        return f"{word}-{uuid.uuid4().hex[:12]}"

    def create_topic(self, partitions: int = 1, config: Mapping[str, str] | None = None, name: str = "") -> str:
        """Create a topic that keeps its records however old, and return its name."""
        name = name or self.unique("topic")
        spec = TopicSpec(name, partitions, replication=1, config={"retention.ms": "-1", **(config or {})})
        assert self.admin().create_topic(spec)
        return name

    def append(self, records: Sequence[OutgoingRecord]) -> list[Appended]:
        """Append, and insist."""
        writer = self.writer()
        outcomes = writer.append_and_wait(records)
        writer.close(self.deadline_s)
        return stored(outcomes)

    def fill(self, partition: TopicPartition, count: int) -> None:
        """Append `count` small records to one partition."""
        self.append([record(partition.topic, partition=partition.partition) for _ in range(count)])

    def until(self, condition: Callable[[], bool], *members: Member) -> None:
        """Poll the members in turn until the condition holds."""
        deadline = time.monotonic() + self.deadline_s
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                told = [f"{m.name}: owns {sorted(m.owned)}, was told {m.told}" for m in members]
                pytest.fail(f"not so within {self.deadline_s} s; {told}")
            for member in members:
                member.poll()
            if not members:
                pause.wait(0.02)


def record(
    topic: str,
    value: bytes | None = b"v",
    key: bytes | None = None,
    headers: Sequence[Header] = (),
    timestamp: int = T0,
    partition: int | None = None,
) -> OutgoingRecord:
    """A record whose parts mostly do not matter."""
    return OutgoingRecord(topic, key, value, headers, timestamp, partition)


def stored(outcomes: Iterable[AppendOutcome]) -> list[Appended]:
    """The outcomes, all of which must be acknowledgements."""
    appended = []
    for outcome in outcomes:
        assert isinstance(outcome, Appended), repr(outcome)
        appended.append(outcome)
    return appended


def offsets_of(batches: Iterable[RecordBatch]) -> list[int]:
    """The offsets of batches, in the order given."""
    return [offset for batch in batches for offset in batch.offsets]


Starts = Callable[["Member", Sequence[TopicPartition]], Mapping[TopicPartition, int]]


def from_zero(_member: Member, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """Start every partition at its first offset."""
    return dict.fromkeys(partitions, 0)


def from_committed(member: Member, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """Start where the group has committed, else at zero."""
    found = member.subscription.committed(partitions)
    return {p: found[p].offset if p in found else 0 for p in partitions}


class Member(SubscriptionListener):
    """A member of a group that writes down what it is told and what it reads."""

    def __init__(
        self,
        log: EventLogHarness,
        group: str,
        topics: Sequence[str],
        starts: Starts = from_zero,
        journal: list[tuple[str, str, TopicPartition]] | None = None,
    ) -> None:
        self.name = log.unique("member")
        self.starts = starts
        self.before_revoked: Callable[[Sequence[TopicPartition]], None] = lambda _: None
        self.owned: set[TopicPartition] = set()
        self.told: list[tuple[str, tuple[TopicPartition, ...]]] = []
        self.faults: list[tuple[TopicPartition, OperatorFault]] = []
        self.read: dict[TopicPartition, list[int]] = defaultdict(list)
        self.journal = journal if journal is not None else []
        self.subscription = log.subscriber().subscribe(group, topics, self)

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._note("assigned", partitions)
        assert not self.owned & set(partitions), "assigned twice"
        self.owned |= set(partitions)
        return self.starts(self, partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._note("revoked", partitions)
        self.before_revoked(partitions)
        assert self.owned >= set(partitions), "revoked what it did not own"
        self.owned -= set(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._note("lost", partitions)
        assert self.owned >= set(partitions), "lost what it did not own"
        self.owned -= set(partitions)

    def failed(self, partition: TopicPartition, fault: OperatorFault) -> None:
        self._note("failed", [partition])
        self.faults.append((partition, fault))

    def was_told(self, what: str) -> set[TopicPartition]:
        """The partitions of every such call so far."""
        return {p for kind, partitions in self.told for p in partitions if kind == what}

    def poll(self, max_records: int = 1000, timeout_s: float = 0.1) -> Sequence[RecordBatch]:
        """Poll once. A log that is not available says so by an error, and is then asked again."""
        try:
            batches = self.subscription.poll(max_records, timeout_s)
        except LogUnavailable:
            return []
        assert len({b.source for b in batches}) == len(batches), "one batch per partition"
        for batch in batches:
            assert batch.source in self.owned
            assert len(batch) >= 1
            columns = (batch.timestamps, batch.keys, batch.values, batch.headers)
            assert {len(column) for column in columns} == {len(batch)}
            self.read[batch.source].extend(batch.offsets)
        return batches

    def _note(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        assert partitions, f"told {what} of nothing"
        self.told.append((what, tuple(partitions)))
        self.journal.extend((self.name, what, partition) for partition in partitions)


def owned_once(members: Sequence[Member], partitions: Iterable[TopicPartition]) -> bool:
    """Is each of these partitions owned by exactly one of the members, and does every member own some?"""
    owned = [partition for member in members for partition in member.owned]
    return sorted(owned) == sorted(partitions) and all(member.owned for member in members)


def partitions_of(topic: str, count: int) -> list[TopicPartition]:
    """All partitions of a topic of that many."""
    return [TopicPartition(topic, n) for n in range(count)]


class LogWriterContract:
    """Appends."""

    def test_an_append_is_acknowledged_with_the_place_where_it_can_be_read(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=3)
        made = [record(topic, value=b"%d" % n, partition=n % 3) for n in range(9)]
        for wanted, outcome in zip(made, log.append(made), strict=True):
            assert (outcome.topic, outcome.partition) == (topic, wanted.partition)
            place = TopicPartition(topic, outcome.partition)
            (batch,) = log.reader().read(place, outcome.offset, outcome.offset + 1)
            assert batch.source == place
            assert list(batch.values) == [wanted.value]

    def test_offsets_of_a_partition_start_at_zero_and_are_dense(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        outcomes = log.append([record(topic, partition=n % 2) for n in range(20)])
        outcomes += log.append([record(topic, partition=n % 2) for n in range(20)])
        for partition in (0, 1):
            assert [o.offset for o in outcomes if o.partition == partition] == list(range(20))

    def test_records_of_one_call_keep_their_order_in_the_partition(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        log.append([record(topic, value=b"%03d" % n) for n in range(300)])
        values = [v for b in log.reader().read(TopicPartition(topic, 0), 0, 300) for v in b.values]
        assert values == [b"%03d" % n for n in range(300)]

    def test_calls_after_one_another_keep_their_order_too(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        writer = log.writer()
        for n in range(50):
            writer.append([record(topic, value=b"%03d" % n)], lambda _: None)
        writer.close(log.deadline_s)
        values = [v for b in log.reader().read(TopicPartition(topic, 0), 0, 50) for v in b.values]
        assert values == [b"%03d" % n for n in range(50)]

    @pytest.mark.parametrize("key", MURMUR2)
    def test_a_key_goes_to_the_partition_that_a_java_client_would_choose(
        self, log: EventLogHarness, key: bytes
    ) -> None:
        topic = log.create_topic(partitions=7)
        (outcome,) = log.append([record(topic, key=key)])
        assert outcome.partition == (MURMUR2[key] & 0x7FFFFFFF) % 7

    def test_equal_keys_share_a_partition(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=5)
        outcomes = log.append([record(topic, key=b"key-%d" % (n % 10)) for n in range(100)])
        homes = {(n % 10, outcome.partition) for n, outcome in enumerate(outcomes)}
        assert len(homes) == 10

    def test_a_chosen_partition_outranks_the_key(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=7)
        outcomes = log.append([record(topic, key=b"foobar", partition=n) for n in range(7)])
        assert [o.partition for o in outcomes] == list(range(7))

    @pytest.mark.parametrize("key", [None, b"", b"k", b"\xff\x00"])
    @pytest.mark.parametrize("value", [None, b"", b"v", b"\xff\x00\n"])
    def test_null_empty_and_binary_keys_and_values_round_trip(
        self, log: EventLogHarness, key: bytes | None, value: bytes | None
    ) -> None:
        topic = log.create_topic()
        log.append([record(topic, key=key, value=value)])
        (batch,) = log.reader().read(TopicPartition(topic, 0), 0, 1)
        assert (list(batch.keys), list(batch.values)) == ([key], [value])

    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("a", b"1")],
            [("null", None), ("empty", b"")],
            [("twice", b"first"), ("other", b"x"), ("twice", b"second")],
            [("binary", b"\xff\xfe\x00\r\n")],
            [("nämé", "wért".encode())],
        ],
    )
    def test_headers_round_trip_in_order(self, log: EventLogHarness, headers: list[Header]) -> None:
        topic = log.create_topic()
        log.append([record(topic, headers=headers)])
        (batch,) = log.reader().read(TopicPartition(topic, 0), 0, 1)
        assert [list(h) for h in batch.headers] == [headers]

    def test_timestamps_round_trip_and_need_not_ascend(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        times = [T0 + 5, T0 - 86_400_000, T0 + 999, T0]
        log.append([record(topic, timestamp=t) for t in times])
        read = [t for b in log.reader().read(TopicPartition(topic, 0), 0, 4) for t in b.timestamps]
        assert read == times

    def test_done_is_called_exactly_once_per_call_whatever_thread_appends(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        writer = log.writer()
        calls: dict[int, list[Sequence[AppendOutcome]]] = defaultdict(list)

        def append(n: int) -> None:
            made = [record(topic, value=b"%d" % n, partition=(n + i) % 2) for i in range(n % 4 + 1)]
            writer.append(made, calls[n].append)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(append, range(80)))
        writer.close(log.deadline_s)
        writer.close(log.deadline_s)
        assert {n: len(told) for n, told in calls.items()} == dict.fromkeys(range(80), 1)
        outcomes = [outcome for n in range(80) for outcome in stored(calls[n][0])]
        assert [len(calls[n][0]) for n in range(80)] == [n % 4 + 1 for n in range(80)]
        assert len({(o.partition, o.offset) for o in outcomes}) == len(outcomes)

    def test_an_append_of_nothing_is_done_with_nothing(self, log: EventLogHarness) -> None:
        assert list(log.writer().append_and_wait([])) == []

    def test_a_record_for_a_missing_topic_is_certainly_not_stored(self, log: EventLogHarness) -> None:
        (outcome,) = log.writer().append_and_wait([record(log.unique("missing"))])
        assert isinstance(outcome, TopicMissing | NotStored)

    def test_a_record_for_a_missing_partition_is_certainly_not_stored(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        (outcome,) = log.writer().append_and_wait([record(topic, partition=2)])
        assert isinstance(outcome, TopicMissing | NotStored)

    def test_writing_creates_no_topic(self, log: EventLogHarness) -> None:
        missing = log.unique("missing")
        log.writer().append_and_wait([record(missing)])
        assert log.admin().topics([missing]) == {}

    def test_a_record_above_the_topics_limit_is_too_large_and_the_next_one_is_stored(
        self, log: EventLogHarness
    ) -> None:
        topic = log.create_topic(config={"max.message.bytes": "10000"})
        writer = log.writer()
        # Limits are on compressed batches in Kafka, so the value must not compress.
        (large,) = writer.append_and_wait([record(topic, value=random.Random(0).randbytes(20_000))])
        assert isinstance(large, RecordTooLarge)
        (small,) = stored(writer.append_and_wait([record(topic)]))
        assert small.offset == 0

    def test_a_record_above_the_topics_limit_spoils_no_other_and_many_below_it_are_not_too_large_together(
        self, log: EventLogHarness
    ) -> None:
        topic, dice = log.create_topic(config={"max.message.bytes": "10000"}), random.Random(1)
        sizes = [20_000 if number % 50 == 7 else 500 for number in range(150)]
        made = [
            record(topic, key=b"%d" % number, value=dice.randbytes(size), headers=[("number", b"%d" % number)])
            for number, size in enumerate(sizes)
        ]
        writer, told = log.writer(), list[Sequence[AppendOutcome]]()
        writer.append(made, told.append)
        writer.close(log.deadline_s)
        [outcomes] = told
        assert [isinstance(each, RecordTooLarge) for each in outcomes] == [size > 10_000 for size in sizes]
        sent = {
            (each.offset, one.key, one.value, one.headers[0][1], one.timestamp)
            for each, one in zip(outcomes, made, strict=True)
            if isinstance(each, Appended)
        }
        read = log.reader().read(TopicPartition(topic, 0), 0, len(made))
        assert sent == {
            (offset, key, value, headers[0][1], timestamp)
            for batch in read
            for offset, key, value, headers, timestamp in zip(
                batch.offsets, batch.keys, batch.values, batch.headers, batch.timestamps, strict=True
            )
        }

    def test_one_bad_record_spoils_no_other_of_its_call(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        made = [record(topic), record(log.unique("missing")), record(topic)]
        first, bad, last = log.writer().append_and_wait(made)
        assert [o.offset for o in stored([first, last])] == [0, 1]
        assert isinstance(bad, TopicMissing | NotStored)

    def test_an_append_after_close_is_not_stored(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        writer = log.writer()
        writer.close(log.deadline_s)
        told: list[Sequence[AppendOutcome]] = []
        writer.append([record(topic), record(topic)], told.append)
        assert [[type(o) for o in outcomes] for outcomes in told] == [[NotStored, NotStored]]
        (outcome,) = writer.append_and_wait([record(topic)])
        assert isinstance(outcome, NotStored)
        assert log.admin().watermarks([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): Watermarks(0, 0)}


class LogReaderContract:
    """Bounded reads."""

    @pytest.mark.parametrize(
        ("start", "until", "offsets"),
        [
            (0, 10, range(10)),
            (3, 7, range(3, 7)),
            (9, 10, [9]),
            (0, 1, [0]),
            (4, 4, []),
            (10, 10, []),
            (7, 500, [7, 8, 9]),
            (10, 500, []),
        ],
    )
    def test_a_read_gives_exactly_its_range(
        self, log: EventLogHarness, start: int, until: int, offsets: Sequence[int]
    ) -> None:
        place = TopicPartition(log.create_topic(partitions=2), 1)
        log.fill(place, 10)
        batches = list(log.reader().read(place, start, until))
        assert offsets_of(batches) == list(offsets)
        assert all(len(batch) >= 1 and batch.source == place for batch in batches)

    def test_an_empty_partition_reads_as_nothing(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        assert list(log.reader().read(place, 0, 100)) == []

    def test_many_records_come_in_order_and_none_is_missing(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 5_000)
        assert offsets_of(log.reader().read(place, 0, 5_000)) == list(range(5_000))

    def test_a_read_ends_at_the_high_watermark_although_the_log_grows(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 3)
        read: list[int] = []
        for batch in log.reader().read(place, 0, 1_000_000):
            read += batch.offsets
            log.fill(place, 3)
        assert read == [0, 1, 2]

    def test_a_read_below_the_low_watermark_is_lost(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 10)
        log.trim(place, 4)
        assert offsets_of(log.reader().read(place, 4, 10)) == [4, 5, 6, 7, 8, 9]
        with pytest.raises(PositionLost):
            list(log.reader().read(place, 3, 10))

    def test_a_read_of_a_missing_topic_says_so(self, log: EventLogHarness) -> None:
        with pytest.raises(TopicMissing):
            list(log.reader().read(TopicPartition(log.unique("missing"), 0), 0, 10))

    def test_two_reads_at_once_do_not_disturb_each_other(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        for place in partitions_of(topic, 2):
            log.fill(place, 50)
        reader = log.reader()
        first = reader.read(TopicPartition(topic, 0), 10, 50)
        second = reader.read(TopicPartition(topic, 1), 20, 40)
        assert offsets_of(second) == list(range(20, 40))
        assert offsets_of(first) == list(range(10, 50))


class SubscriptionContract:
    """Groups: membership, positions, commits."""

    def test_a_lone_member_is_assigned_every_partition_and_reads_every_record(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=3)
        places = partitions_of(topic, 3)
        for place in places:
            log.fill(place, 5)
        member = Member(log, log.unique("group"), [topic])
        log.until(lambda: member.read == {place: [0, 1, 2, 3, 4] for place in places}, member)
        assert member.was_told("assigned") == set(places)

    def test_a_subscription_to_several_topics_reads_them_all(self, log: EventLogHarness) -> None:
        places = [TopicPartition(log.create_topic(), 0) for _ in range(2)]
        for place in places:
            log.fill(place, 2)
        member = Member(log, log.unique("group"), [place.topic for place in places])
        log.until(lambda: member.read == {place: [0, 1] for place in places}, member)

    def test_a_poll_gives_records_as_they_were_appended(self, log: EventLogHarness) -> None:
        topic = log.create_topic()
        log.append([record(topic, b"one", b"k", [("h", None)], T0), record(topic, None, None, (), T0 + 1)])
        member = Member(log, log.unique("group"), [topic])
        batches: list[RecordBatch] = []

        def all_read() -> bool:
            batches.extend(member.poll())
            return len(offsets_of(batches)) == 2

        log.until(all_read)
        assert [v for b in batches for v in b.values] == [b"one", None]
        assert [k for b in batches for k in b.keys] == [b"k", None]
        assert [t for b in batches for t in b.timestamps] == [T0, T0 + 1]
        assert [list(h) for b in batches for h in b.headers] == [[("h", None)], []]

    def test_records_appended_later_arrive(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        member = Member(log, log.unique("group"), [place.topic])
        log.until(lambda: member.owned == {place}, member)
        log.fill(place, 2)
        log.until(lambda: member.read[place] == [0, 1], member)
        log.fill(place, 1)
        log.until(lambda: member.read[place] == [0, 1, 2], member)

    def test_reading_begins_at_the_position_answered_to_assigned(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        first, second = partitions_of(topic, 2)
        for place in (first, second):
            log.fill(place, 6)
        member = Member(log, log.unique("group"), [topic], lambda _member, _partitions: {first: 4, second: 6})
        log.until(lambda: member.read[first] == [4, 5], member)
        log.fill(second, 1)
        log.until(lambda: member.read[second] == [6], member)
        assert member.read[first] == [4, 5]

    def test_a_partition_left_out_is_held_until_it_is_started(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        free, held = partitions_of(topic, 2)
        for place in (free, held):
            log.fill(place, 4)
        member = Member(log, log.unique("group"), [topic], lambda _member, _partitions: {free: 0})
        log.until(lambda: member.read[free] == [0, 1, 2, 3], member)
        log.fill(free, 1)
        log.until(lambda: member.read[free] == [0, 1, 2, 3, 4], member)
        assert held in member.owned
        assert held not in member.read
        member.subscription.resume([held])
        member.poll()
        assert held not in member.read, "resume does not start what is held"
        member.subscription.start(held, 2)
        log.until(lambda: member.read[held] == [2, 3], member)

    def test_start_moves_a_partition_that_is_being_read(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 4)
        member = Member(log, log.unique("group"), [place.topic])
        log.until(lambda: member.read[place] == [0, 1, 2, 3], member)
        member.subscription.start(place, 1)
        log.until(lambda: member.read[place] == [0, 1, 2, 3, 1, 2, 3], member)

    def test_a_poll_never_returns_more_records_than_asked_for(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        places = partitions_of(topic, 2)
        for place in places:
            log.fill(place, 20)
        member = Member(log, log.unique("group"), [topic])
        sizes: list[int] = []

        def all_read() -> bool:
            sizes.append(len(offsets_of(member.poll(max_records=7))))
            return sum(sizes) == 40

        log.until(all_read)
        assert max(sizes) <= 7
        assert member.read == {place: list(range(20)) for place in places}

    def test_a_paused_partition_gives_nothing_and_goes_on_where_it_was(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        paused, other = partitions_of(topic, 2)
        log.fill(paused, 10)
        member = Member(log, log.unique("group"), [topic])
        log.until(lambda: bool(member.read[paused]) or bool(member.poll(max_records=3)))
        before = list(member.read[paused])
        member.subscription.pause([paused])
        member.subscription.pause([paused])
        log.fill(other, 5)
        log.until(lambda: member.read[other] == [0, 1, 2, 3, 4], member)
        log.fill(other, 1)
        log.until(lambda: member.read[other] == [0, 1, 2, 3, 4, 5], member)
        assert member.read[paused] == before
        member.subscription.resume([paused, other])
        log.until(lambda: len(member.read[paused]) >= 10, member)
        assert member.read[paused] == list(range(10))

    def test_a_partition_started_while_paused_stays_silent_until_resumed(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        paused, other = partitions_of(topic, 2)
        log.fill(paused, 3)
        member = Member(log, log.unique("group"), [topic])
        log.until(lambda: member.read[paused] == [0, 1, 2], member)
        member.subscription.pause([paused])
        member.subscription.start(paused, 1)
        log.fill(other, 2)
        log.until(lambda: member.read[other] == [0, 1], member)
        assert member.read[paused] == [0, 1, 2]
        member.subscription.resume([paused])
        log.until(lambda: member.read[paused] == [0, 1, 2, 1, 2], member)

    def test_nothing_is_committed_by_itself(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        group = log.unique("group")
        log.fill(place, 5)
        member = Member(log, group, [place.topic])
        log.until(lambda: len(member.read[place]) == 5, member)
        assert member.subscription.committed([place]) == {}
        member.subscription.close()
        assert log.admin().group_offsets(group, [place]) == {}

    def test_a_commit_is_read_back_with_its_metadata_and_only_what_was_named_moves(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=3)
        first, second, third = partitions_of(topic, 3)
        group = log.unique("group")
        member = Member(log, group, [topic])
        log.until(lambda: len(member.owned) == 3, member)
        member.subscription.commit({first: Position(3, '{"v":1}'), second: Position(0)})
        assert member.subscription.committed([first, second, third]) == {
            first: Position(3, '{"v":1}'),
            second: Position(0),
        }
        member.subscription.commit({second: Position(8, "é")})
        committed = {first: Position(3, '{"v":1}'), second: Position(8, "é")}
        assert member.subscription.committed([first, second, third]) == committed
        assert member.subscription.committed([third]) == {}
        assert log.admin().group_offsets(group, [first, second, third]) == committed

    def test_a_commit_replaces_the_metadata_and_may_go_back(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        member = Member(log, log.unique("group"), [place.topic])
        log.until(lambda: member.owned == {place}, member)
        member.subscription.commit({place: Position(9, "text")})
        member.subscription.commit({place: Position(4)})
        assert member.subscription.committed([place]) == {place: Position(4, "")}

    def test_commit_metadata_may_have_four_thousand_bytes(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        member = Member(log, log.unique("group"), [place.topic])
        log.until(lambda: member.owned == {place}, member)
        member.subscription.commit({place: Position(1, "m" * 4000)})
        assert member.subscription.committed([place]) == {place: Position(1, "m" * 4000)}

    def test_groups_do_not_see_each_others_commits(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 2)
        one, other = (Member(log, log.unique("group"), [place.topic], from_committed) for _ in range(2))
        log.until(lambda: one.read[place] == [0, 1], one)
        one.subscription.commit({place: Position(2)})
        log.until(lambda: other.read[place] == [0, 1], other)
        assert other.subscription.committed([place]) == {}

    def test_the_next_member_goes_on_where_the_last_one_committed(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        group = log.unique("group")
        log.fill(place, 5)
        first = Member(log, group, [place.topic], from_committed)
        log.until(lambda: len(first.read[place]) == 5, first)
        first.subscription.commit({place: Position(3)})
        first.subscription.close()
        second = Member(log, group, [place.topic], from_committed)
        log.until(lambda: second.read[place] == [3, 4], second)

    def test_close_tells_revoked_and_lets_the_listener_commit(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        group = log.unique("group")
        member = Member(log, group, [topic])
        log.until(lambda: len(member.owned) == 2, member)
        member.before_revoked = lambda partitions: member.subscription.commit(
            {p: Position(7, "at the end") for p in partitions}
        )
        member.subscription.close()
        member.subscription.close()
        assert member.was_told("revoked") == set(partitions_of(topic, 2))
        assert member.owned == set()
        committed = log.admin().group_offsets(group, partitions_of(topic, 2))
        assert committed == dict.fromkeys(partitions_of(topic, 2), Position(7, "at the end"))

    def test_when_a_member_leaves_the_others_take_over(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=4)
        places = partitions_of(topic, 4)
        group = log.unique("group")
        stays, leaves = Member(log, group, [topic]), Member(log, group, [topic])
        log.until(lambda: owned_once([stays, leaves], places), stays, leaves)
        leaves.subscription.close()
        log.until(lambda: stays.owned == set(places), stays)

    def test_two_members_share_the_partitions_and_none_is_ever_owned_twice(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=5)
        places = partitions_of(topic, 5)
        group = log.unique("group")
        journal: list[tuple[str, str, TopicPartition]] = []
        first = Member(log, group, [topic], journal=journal)
        log.until(lambda: first.owned == set(places), first)
        second = Member(log, group, [topic], journal=journal)
        log.until(lambda: owned_once([first, second], places), first, second)
        for _ in range(5):
            first.poll()
            second.poll()
        assert owned_once([first, second], places), "and so it stays"
        owner: dict[TopicPartition, str] = {}
        for member, what, partition in journal:
            if what == "assigned":
                assert partition not in owner, f"{partition} assigned before it was revoked"
                owner[partition] = member
            else:
                assert owner.pop(partition) == member

    def test_members_that_share_read_every_record_between_them(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=4)
        places = partitions_of(topic, 4)
        group = log.unique("group")
        members = [Member(log, group, [topic]) for _ in range(2)]
        log.until(lambda: owned_once(members, places), *members)
        log.append([record(topic, partition=place.partition) for place in places for _ in range(3)])
        log.until(lambda: all(any(m.read[p] == [0, 1, 2] for m in members) for p in places), *members)
        for place in places:
            assert sorted(len(m.read[place]) for m in members) == [0, 3], "the other member read nothing"

    def test_a_member_beyond_the_number_of_partitions_waits_with_none(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        group = log.unique("group")
        members = [Member(log, group, [place.topic]) for _ in range(2)]
        log.until(lambda: sum(len(m.owned) for m in members) == 1 and both_joined(log, group), *members)
        (owner,) = (m for m in members if m.owned)
        (spare,) = (m for m in members if not m.owned)
        log.until(lambda: sum(len(m.owned) for m in members) == 1, *members)
        owner.subscription.close()
        log.until(lambda: spare.owned == {place}, spare)

    def test_what_is_committed_while_being_revoked_is_where_the_next_owner_begins(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        places = partitions_of(topic, 2)
        for place in places:
            log.fill(place, 6)
        group = log.unique("group")
        first = Member(log, group, [topic], from_committed)
        log.until(lambda: all(len(first.read[p]) == 6 for p in places), first)
        first.before_revoked = lambda partitions: first.subscription.commit({p: Position(4) for p in partitions})
        second = Member(log, group, [topic], from_committed)
        log.until(lambda: owned_once([first, second], places), first, second)
        (moved,) = second.owned
        log.until(lambda: second.read[moved] == [4, 5], first, second)

    def test_a_member_whose_session_has_passed_is_told_lost_and_may_not_commit(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        places = partitions_of(topic, 2)
        group = log.unique("group")
        stalled = Member(log, group, [topic])
        log.until(lambda: stalled.owned == set(places), stalled)
        heir = Member(log, group, [topic], from_committed)
        heir.poll()
        log.let_session_pass(heir.poll)
        log.until(lambda: heir.owned == set(places), heir)
        heir.subscription.commit({places[0]: Position(9, "of the heir")})
        with pytest.raises(NotAMember):
            stalled.subscription.commit({places[0]: Position(1, "of the dead")})
        assert heir.subscription.committed(places) == {places[0]: Position(9, "of the heir")}
        log.until(lambda: stalled.was_told("lost") == set(places), stalled, heir)
        log.until(lambda: owned_once([stalled, heir], places), stalled, heir)

    @pytest.mark.parametrize("start", [2, 9], ids=["below the low watermark", "beyond the high watermark"])
    def test_a_start_outside_of_what_the_log_holds_fails_that_partition_alone(
        self, log: EventLogHarness, start: int
    ) -> None:
        topic = log.create_topic(partitions=2)
        bad, good = partitions_of(topic, 2)
        log.fill(bad, 8)
        log.fill(good, 8)
        log.trim(bad, 5)
        member = Member(log, log.unique("group"), [topic], lambda _member, _partitions: {bad: start, good: 0})
        log.until(lambda: bool(member.faults) and len(member.read[good]) == 8, member)
        ((partition, fault),) = member.faults
        assert partition == bad
        assert isinstance(fault, PositionLost)
        assert bad in member.owned
        assert bad not in member.read
        member.subscription.start(bad, 5)
        log.until(lambda: member.read[bad] == [5, 6, 7], member)

    def test_polling_for_a_missing_topic_says_so(self, log: EventLogHarness) -> None:
        member = Member(log, log.unique("group"), [log.unique("missing")])

        def said() -> bool:
            try:
                member.poll()
            except TopicMissing:
                return True
            return False

        log.until(said)


def both_joined(log: EventLogHarness, group: str) -> bool:
    """Does the group have two members, and has it settled?"""
    info = log.admin().group(group)
    return info.state == "Stable" and len(info.members) == 2


class LogAdminContract:
    """Topics and groups."""

    def test_a_topic_is_created_as_it_should_be(self, log: EventLogHarness) -> None:
        name = log.create_topic(partitions=3, config={"max.message.bytes": "123456"})
        info = log.admin().topics([name])[name]
        assert (info.name, info.partitions, info.replication) == (name, 3, 1)
        assert info.topic_id
        assert log.admin().topic_config(name)["max.message.bytes"] == "123456"

    def test_a_topic_that_exists_is_left_as_it_is(self, log: EventLogHarness) -> None:
        name = log.create_topic(partitions=2, config={"max.message.bytes": "123456"})
        before = log.admin().topics([name])
        assert not log.admin().create_topic(TopicSpec(name, 5, 1, {"max.message.bytes": "99999"}))
        assert log.admin().topics([name]) == before
        assert log.admin().topic_config(name)["max.message.bytes"] == "123456"

    def test_missing_topics_are_absent(self, log: EventLogHarness) -> None:
        name, missing = log.create_topic(), log.unique("missing")
        assert set(log.admin().topics([name, missing])) == {name}
        assert log.admin().topics([]) == {}

    def test_all_topics_are_listed_when_none_is_named(self, log: EventLogHarness) -> None:
        names = {log.create_topic(), log.create_topic()}
        assert names <= set(log.admin().topics())

    def test_a_created_topic_is_there_as_soon_as_that_is_said(self, log: EventLogHarness) -> None:
        for _ in range(10):
            place = TopicPartition(log.create_topic(), 0)
            assert place.topic in log.admin().topics([place.topic])
            assert log.admin().watermarks([place]) == {place: Watermarks(0, 0)}

    def test_a_recreated_topic_is_another_topic_and_starts_again_at_zero(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.fill(place, 4)
        before = log.admin().topics([place.topic])[place.topic].topic_id
        log.delete_topic(place.topic)
        assert log.admin().topics([place.topic]) == {}
        log.create_topic(name=place.topic)
        assert log.admin().topics([place.topic])[place.topic].topic_id != before
        assert log.admin().watermarks([place]) == {place: Watermarks(0, 0)}
        (outcome,) = log.append([record(place.topic)])
        assert outcome.offset == 0

    def test_deleting_a_topic_forgets_what_groups_committed_to_it(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(), 0), log.unique("group")
        log.admin().alter_group_offsets(group, {place: Position(3)})
        log.delete_topic(place.topic)
        log.create_topic(name=place.topic)
        log.until(lambda: log.admin().group_offsets(group, [place]) == {})

    def test_two_topics_have_two_ids(self, log: EventLogHarness) -> None:
        first, second = log.create_topic(), log.create_topic()
        infos = log.admin().topics([first, second])
        assert infos[first].topic_id != infos[second].topic_id

    def test_configuring_a_topic_leaves_every_other_key_alone(self, log: EventLogHarness) -> None:
        name = log.create_topic(config={"retention.ms": "86400000", "max.message.bytes": "123456"})
        before = dict(log.admin().topic_config(name))
        log.admin().configure_topic(name, {"retention.ms": "172800000"})
        log.until(lambda: log.admin().topic_config(name)["retention.ms"] == "172800000")
        assert log.admin().topic_config(name) == before | {"retention.ms": "172800000"}

    def test_the_effective_configuration_has_what_was_never_set(self, log: EventLogHarness) -> None:
        config = log.admin().topic_config(log.create_topic())
        assert int(config["max.message.bytes"]) > 0
        assert config["cleanup.policy"] == "delete"

    def test_partitions_can_be_added_and_the_topic_stays_the_same(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        log.fill(TopicPartition(topic, 1), 3)
        before = log.admin().topics([topic])[topic].topic_id
        log.admin().add_partitions(topic, 4)
        log.until(lambda: log.admin().topics([topic])[topic].partitions == 4)
        assert log.admin().topics([topic])[topic].topic_id == before
        log.fill(TopicPartition(topic, 3), 1)
        marks = log.admin().watermarks(partitions_of(topic, 4))
        assert [(marks[p].low, marks[p].high) for p in partitions_of(topic, 4)] == [(0, 0), (0, 3), (0, 0), (0, 1)]

    def test_a_topic_never_shrinks(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=3)
        with pytest.raises(SettingsInvalid):
            log.admin().add_partitions(topic, 2)
        assert log.admin().topics([topic])[topic].partitions == 3

    def test_a_topic_with_more_replicas_than_brokers_is_not_created(self, log: EventLogHarness) -> None:
        name, admin = log.unique("topic"), log.admin()
        with pytest.raises(SettingsInvalid):
            admin.create_topic(TopicSpec(name, 1, admin.broker_count() + 1))
        assert admin.topics([name]) == {}

    def test_what_concerns_a_missing_topic_says_so(self, log: EventLogHarness) -> None:
        missing, admin = log.unique("missing"), log.admin()
        with pytest.raises(TopicMissing):
            admin.topic_config(missing)
        with pytest.raises(TopicMissing):
            admin.configure_topic(missing, {"retention.ms": "1000"})
        with pytest.raises(TopicMissing):
            admin.add_partitions(missing, 3)
        with pytest.raises(TopicMissing):
            admin.watermarks([TopicPartition(missing, 0)])
        with pytest.raises(TopicMissing):
            admin.offsets_for_times({TopicPartition(missing, 0): T0})

    def test_there_is_at_least_one_broker(self, log: EventLogHarness) -> None:
        assert log.admin().broker_count() >= 1

    def test_watermarks_follow_appends_and_retention(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        filled, empty = partitions_of(topic, 2)
        log.fill(filled, 6)
        assert log.admin().watermarks([filled, empty]) == {filled: Watermarks(0, 6), empty: Watermarks(0, 0)}
        log.trim(filled, 2)
        assert log.admin().watermarks([filled]) == {filled: Watermarks(2, 6)}
        log.trim(filled, 6)
        log.fill(filled, 1)
        assert log.admin().watermarks([filled]) == {filled: Watermarks(6, 7)}
        assert log.admin().watermarks([]) == {}

    def test_a_time_finds_the_lowest_offset_at_or_after_it_also_out_of_order(self, log: EventLogHarness) -> None:
        topic = log.create_topic(partitions=2)
        filled, empty = partitions_of(topic, 2)
        times = [100, 5_000, 200, 5_000, 90_000, 300, 90_001]
        log.append([record(topic, timestamp=T0 + t, partition=0) for t in times])
        wanted = {0: 0, 100: 0, 101: 1, 200: 1, 5_000: 1, 5_001: 4, 90_000: 4, 90_001: 6, 90_002: None}
        found = {t: log.admin().offsets_for_times({filled: T0 + t, empty: T0 + t}) for t in wanted}
        assert found == {t: {filled: offset, empty: None} for t, offset in wanted.items()}

    def test_a_time_never_finds_an_offset_below_the_low_watermark(self, log: EventLogHarness) -> None:
        place = TopicPartition(log.create_topic(), 0)
        log.append([record(place.topic, timestamp=T0 + t) for t in (0, 1_000, 2_000, 3_000)])
        log.trim(place, 2)
        assert log.admin().offsets_for_times({place: T0}) == {place: 2}

    def test_an_unknown_group_is_dead(self, log: EventLogHarness) -> None:
        group = log.unique("group")
        info = log.admin().group(group)
        assert (info.group, info.state, list(info.members)) == (group, "Dead", [])
        assert log.admin().group_offsets(group, [TopicPartition(log.create_topic(), 0)]) == {}

    def test_a_group_is_stable_with_members_and_empty_without(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(partitions=2), 0), log.unique("group")
        members = [Member(log, group, [place.topic]) for _ in range(2)]
        log.until(lambda: all(m.owned for m in members) and both_joined(log, group), *members)
        owner = next(m for m in members if place in m.owned)
        owner.subscription.commit({place: Position(1)})
        for member in members:
            member.subscription.close()
        log.until(lambda: log.admin().group(group).state == "Empty")
        assert list(log.admin().group(group).members) == []

    def test_offsets_of_a_group_without_members_can_be_set_with_metadata(self, log: EventLogHarness) -> None:
        topic, group = log.create_topic(partitions=3), log.unique("group")
        first, second, third = partitions_of(topic, 3)
        log.admin().alter_group_offsets(group, {first: Position(5, "by hand"), second: Position(0)})
        log.admin().alter_group_offsets(group, {second: Position(2)})
        assert log.admin().group_offsets(group, [first, second, third]) == {
            first: Position(5, "by hand"),
            second: Position(2),
        }
        assert log.admin().group(group).state == "Empty"

    def test_a_member_finds_the_offsets_set_by_hand(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(), 0), log.unique("group")
        log.fill(place, 4)
        log.admin().alter_group_offsets(group, {place: Position(3, "by hand")})
        member = Member(log, group, [place.topic], from_committed)
        log.until(lambda: member.read[place] == [3], member)
        assert member.subscription.committed([place]) == {place: Position(3, "by hand")}

    def test_offsets_of_an_active_group_cannot_be_altered(self, log: EventLogHarness) -> None:
        place, group = TopicPartition(log.create_topic(), 0), log.unique("group")
        member = Member(log, group, [place.topic])
        log.until(lambda: member.owned == {place}, member)
        member.subscription.commit({place: Position(1)})
        with pytest.raises(GroupActive):
            log.admin().alter_group_offsets(group, {place: Position(0)})
        assert log.admin().group_offsets(group, [place]) == {place: Position(1)}
        member.subscription.close()
        log.until(lambda: log.admin().group(group).state == "Empty")
        log.admin().alter_group_offsets(group, {place: Position(0)})
        assert log.admin().group_offsets(group, [place]) == {place: Position(0)}

    def test_close_can_be_repeated(self, log: EventLogHarness) -> None:
        admin = log.admin()
        admin.topics()
        admin.close()
        admin.close()
