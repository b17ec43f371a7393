"""Appends with group commit: whatever came in during one fsync shares the next one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from streamlake.adapters.event_log.sqlite.database import OFFSET_BITS, Database, primary_code, topic_number
from streamlake.adapters.event_log.sqlite.reader import encode_headers
from streamlake.domain.errors import (
    LogUnavailable,
    NotStored,
    OutcomeUnknown,
    RecordTooLarge,
    StreamLakeError,
    TopicMissing,
    WriterFailed,
)
from streamlake.domain.model.records import Appended, AppendOutcome, OutgoingRecord
from streamlake.domain.model.topics import TOPIC_DEFAULTS, partition_for
from streamlake.domain.ports.event_log import LogWriter

QUEUE_RECORDS = 100_000
QUEUE_BYTES = 64 * 1024 * 1024
"""What may wait to be written; an append beyond it is `NotStored`. A call larger than that passes an empty queue."""

COMMIT_RECORDS = 20_000
COMMIT_BYTES = 16 * 1024 * 1024
"""What one transaction takes: other processes wait for it."""

MARK_EVERY_MS = 1_000
"""How much later than the last mark a record is to become one: a search by time scans no more than such a stretch."""

Done = Callable[[Sequence[AppendOutcome]], None]


@dataclass(slots=True, eq=False)
class _Call:
    """One call of `append`. Whoever claims it tells its outcome, so it is told once."""

    records: Sequence[OutgoingRecord]
    sizes: list[int]
    headers: list[bytes | None]
    done: Done
    bytes: int
    claimed: bool = False

    def refused(self, error: type[StreamLakeError], why: str) -> list[AppendOutcome]:
        return [error(f"topic {record.topic}: {why}") for record in self.records]


class SqliteWriter(LogWriter):
    """Calls queue up; a thread of its own takes them all and commits them at once.

    The thread and its connection begin with the first append, in the process that makes it.
    """

    def __init__(self, database: Database, delivery_timeout_s: float) -> None:
        self._database = database
        self._delivery_timeout_s = delivery_timeout_s
        self._condition = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._in_flight: list[_Call] = []
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._keyless = 0
        self._committing = False

    def append(self, records: Sequence[OutgoingRecord], done: Done) -> None:
        call = _call(records, done)
        refusal = self._enqueue(call) if records else []
        if refusal is not None:
            done(refusal)

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        told: list[Sequence[AppendOutcome]] = []
        decided = threading.Event()

        def done(outcomes: Sequence[AppendOutcome]) -> None:
            told.append(outcomes)
            decided.set()

        call = _call(records, done)
        refusal = self._enqueue(call) if records else []
        if refusal is not None:
            return refusal
        if not decided.wait(self._delivery_timeout_s):
            self._give_up([call], f"not stored within {self._delivery_timeout_s} s")
            decided.wait()
        return told[0]

    def close(self, timeout_s: float) -> None:
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(timeout_s)
        with self._condition:
            left = [*self._in_flight, *self._queue]
        self._give_up(left, "the writer was closed before it was stored")

    def _enqueue(self, call: _Call) -> list[AppendOutcome] | None:
        """Queue the call, or say why not."""
        with self._condition:
            if self._closed:
                return call.refused(NotStored, "the writer is closed")
            if self._thread is None:
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="sqlite-log-writer", daemon=True)
                self._thread.start()
            elif self._pid != os.getpid() or not self._thread.is_alive():
                return call.refused(WriterFailed, "the writer's thread is gone (a fork after its first append?)")
            full = (
                self._waiting_records + len(call.records) > QUEUE_RECORDS
                or self._waiting_bytes + call.bytes > QUEUE_BYTES
            )
            if full and self._queue:
                return call.refused(NotStored, f"the queue is full ({self._waiting_records} records)")
            self._queue.append(call)
            self._waiting_records += len(call.records)
            self._waiting_bytes += call.bytes
            self._condition.notify()
            return None

    def _give_up(self, calls: list[_Call], why: str) -> None:
        """Decide calls that nobody waits for any longer: what is still queued never becomes stored."""
        for call in calls:
            with self._condition:
                queued = call in self._queue
                if queued:
                    self._unqueue(call)
                    self._queue.remove(call)
            if queued:
                self._tell(call, call.refused(NotStored, why))
            else:
                self._tell(call, call.refused(OutcomeUnknown, why))

    def _unqueue(self, call: _Call) -> None:
        self._waiting_records -= len(call.records)
        self._waiting_bytes -= call.bytes

    def _tell(self, call: _Call, outcomes: Sequence[AppendOutcome]) -> None:
        with self._condition:
            if call.claimed:
                return
            call.claimed = True
        call.done(outcomes)

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while calls := self._take():
                try:
                    if connection is None:
                        connection = self._database.connect()
                    outcomes = self._store(connection, calls)
                except StreamLakeError as fault:
                    # Begin anew with another connection: after an I/O error the old one's view may be wrong.
                    if connection is not None:
                        connection.close()
                        connection = None
                    error, why = _verdict(fault, self._committing)
                    outcomes = [call.refused(error, why) for call in calls]
                for call, told in zip(calls, outcomes, strict=True):
                    self._tell(call, told)
        finally:
            # Also when a callback has raised: nobody waits for ever, and later appends hear that the thread is gone.
            if connection is not None:
                connection.close()
            with self._condition:
                left = [*self._in_flight, *self._queue]
            self._give_up(left, "the writer's thread has ended")

    def _take(self) -> list[_Call]:
        """The calls of the next transaction, at least one; none when closed and all is written."""
        with self._condition:
            self._in_flight = []
            while not self._queue and not self._closed:
                self._condition.wait()
            records = size = 0
            while self._queue:
                call = self._queue[0]
                records, size = records + len(call.records), size + call.bytes
                if self._in_flight and (records > COMMIT_RECORDS or size > COMMIT_BYTES):
                    break
                self._unqueue(call)
                self._in_flight.append(self._queue.popleft())
            return self._in_flight

    def _store(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[list[AppendOutcome]]:
        transaction = _Transaction(connection, self._keyless)
        self._committing = False
        with self._database.transaction(connection):
            outcomes = [
                [transaction.add(*one) for one in zip(call.records, call.sizes, call.headers, strict=True)]
                for call in calls
            ]
            transaction.write()
            self._committing = True  # COMMIT is all that can fail from here on
        self._keyless = transaction.keyless + 1
        return outcomes


@dataclass(slots=True)
class _Lane:
    number: int
    next: int
    marked: int
    changed: bool = False


@dataclass(slots=True)
class _Topic:
    limit: int
    lanes: list[_Lane]


@dataclass(slots=True)
class _Transaction:
    """Gives places to records, within a transaction, and writes them all."""

    connection: sqlite3.Connection
    keyless: int
    """Records without a key go to this partition (modulo) for the length of a transaction, then to the next."""

    topics: dict[str, _Topic | TopicMissing] = field(default_factory=dict)
    rows: list[tuple[int, int, bytes | None, bytes | None, bytes | None]] = field(default_factory=list)
    marks: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, record: OutgoingRecord, size: int, headers: bytes | None) -> AppendOutcome:
        topic = self.topics.get(record.topic) or self._find(record.topic)
        if isinstance(topic, TopicMissing):
            return topic
        if size > topic.limit:
            return RecordTooLarge(
                f"topic {record.topic}: a record has at most {topic.limit} bytes, this one has {size}"
            )
        partition = record.partition
        if partition is None:
            partition = partition_for(record.key, len(topic.lanes), self.keyless)
        elif not 0 <= partition < len(topic.lanes):
            return TopicMissing(f"{record.topic}[{partition}] does not exist: there are {len(topic.lanes)} partitions")
        lane = topic.lanes[partition]
        offset = lane.next
        self.rows.append((lane.number << OFFSET_BITS | offset, record.timestamp, record.key, record.value, headers))
        if record.timestamp >= lane.marked + MARK_EVERY_MS:
            lane.marked = record.timestamp
            self.marks.append((lane.number, record.timestamp, offset))
        lane.next += 1
        lane.changed = True
        return Appended(record.topic, partition, offset)

    def write(self) -> None:
        found = [topic for topic in self.topics.values() if isinstance(topic, _Topic)]
        lanes = [lane for topic in found for lane in topic.lanes if lane.changed]
        self.connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", self.rows)
        self.connection.executemany("INSERT INTO mark VALUES (?, ?, ?)", self.marks)
        self.connection.executemany(
            "UPDATE lane SET next = ?, marked = ? WHERE number = ?",
            [(lane.next, lane.marked, lane.number) for lane in lanes],
        )

    def _find(self, name: str) -> _Topic | TopicMissing:
        try:
            number = topic_number(self.connection, name)
        except TopicMissing as missing:
            self.topics[name] = missing
            return missing
        (config,) = self.connection.execute("SELECT config FROM topic WHERE number = ?", (number,)).fetchone()
        lanes = self.connection.execute(
            "SELECT number, next, marked FROM lane WHERE topic = ? ORDER BY partition", (number,)
        )
        limit = int({**TOPIC_DEFAULTS, **msgspec.json.decode(config)}["max.message.bytes"])
        topic = self.topics[name] = _Topic(limit, [_Lane(*row) for row in lanes])
        return topic


def _call(records: Sequence[OutgoingRecord], done: Done) -> _Call:
    """Everything that depends on the records alone, done on the caller's thread."""
    sizes = []
    for _, key, value, headers, *_ in records:
        size = len(key or b"") + len(value or b"")
        sizes.append(size + sum(len(name.encode()) + len(v or b"") for name, v in headers))
    packed = [encode_headers(record.headers) if record.headers else None for record in records]
    return _Call(tuple(records), sizes, packed, done, sum(sizes))


def _verdict(fault: StreamLakeError, committing: bool) -> tuple[type[StreamLakeError], str]:
    """A failed transaction is not stored, with one exception: when the disk fails in the middle of COMMIT, complete
    frames may be in the write-ahead log, and the next process to open the file would take them for good."""
    cause = fault.__cause__
    if committing and isinstance(cause, sqlite3.Error) and primary_code(cause) == sqlite3.SQLITE_IOERR:
        return OutcomeUnknown, str(fault)
    return (NotStored if isinstance(fault, LogUnavailable) else type(fault)), str(fault)
