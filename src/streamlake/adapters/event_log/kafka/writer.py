"""Appends: every record gets its own delivery report, every call its one answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message

from streamlake.adapters.event_log.kafka.config import KafkaConfig, Properties
from streamlake.adapters.event_log.kafka.errors import TOO_LARGE, failed_append, is_fatal, told
from streamlake.domain.errors import NotStored, OutcomeUnknown, StreamLakeError, WriterFailed
from streamlake.domain.model.records import Appended, AppendOutcome, OutgoingRecord
from streamlake.domain.ports.event_log import LogWriter

ANY_PARTITION = -1
POLL_S = 0.1
REPORT_SLACK_S = 5.0
"""librdkafka looks for overdue records once a second; the rest is a busy machine."""


class KafkaWriter(LogWriter):
    """An idempotent producer and the thread that serves its delivery reports.

    An unknown outcome stays unknown: librdkafka says of a record purged at close that it was in the queue, but a
    record waiting there for its retry may have been stored by the first attempt. So nothing handed to librdkafka is
    ever `NotStored`, only what it would not take.

    A broker refuses a batch of records as a whole, for one too large among them or for what they are together. So what
    is refused for its size is sent again by itself, by a producer whose batches are of one record: its word counts.
    """

    def __init__(self, config: KafkaConfig, *, one_by_one: bool = False) -> None:
        batches: Properties = {"batch.num.messages": "1"} if one_by_one else {}
        self._producer = config.open_producer(config.producer() | batches, error_cb=self._on_error)
        self._config = config
        self._one_by_one = one_by_one
        self._alone: KafkaWriter | None = None
        self._patience_s = config.delivery_timeout_s + REPORT_SLACK_S
        self._lock = threading.RLock()
        self._closed = False
        self._fatal: str | None = None
        self._ended = threading.Event()
        self._reports = threading.Thread(target=self._serve_reports, name="streamlake-kafka-reports", daemon=True)
        self._reports.start()

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        self._hand_over(records, done)

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        answered = threading.Event()
        outcomes = self._hand_over(records, lambda _: answered.set())
        answered.wait(self._patience_s)
        overdue = OutcomeUnknown(f"no delivery report within {self._patience_s} s")
        return [overdue if outcome is None else outcome for outcome in outcomes]

    def close(self, timeout_s: float) -> None:
        # Under the lock no append is half handed over, so every record is before the flush or refused.
        with self._lock:
            if self._closed:
                return
            self._closed = True
        deadline = time.monotonic() + timeout_s
        self._producer.flush(timeout_s)
        if len(self._producer):
            self._producer.purge()
            self._producer.flush(REPORT_SLACK_S)
        with self._lock:
            self._ended.set()
        if self._alone is not None:
            self._alone.close(max(0.0, deadline - time.monotonic()))
        if threading.current_thread() is not self._reports:
            self._reports.join()

    def _hand_over(
        self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]
    ) -> Sequence[AppendOutcome | None]:
        if not records:
            done([])
            return []
        call = _Call(len(records), done, self._not_delivered)
        with self._lock:
            if self._closed or self._fatal:
                call.refuse(self._refusal())
            else:
                self._produce(records, call)
        # Served here too: left to the other thread alone, the reports would have both pass the GIL to and fro, and
        # appends run at half the speed.
        self._producer.poll(0)
        return call.outcomes

    def _produce(self, records: Sequence[OutgoingRecord], call: _Call) -> None:
        produce, report = self._producer.produce, call.report
        for index, record in enumerate(records):
            topic, key, value, headers, timestamp, partition = record
            try:
                produce(
                    topic,
                    value,
                    key,
                    ANY_PARTITION if partition is None else partition,
                    on_delivery=partial(report, index, record),
                    timestamp=timestamp,
                    headers=headers if type(headers) is list else list(headers),
                )
            except BufferError:
                call.settle(index, NotStored(f"append to {topic}: the producer's queue is full"))
            except KafkaException as e:
                call.settle(index, self._failed(e.args[0], topic))

    def _not_delivered(self, call: _Call, index: int, record: OutgoingRecord, error: KafkaError) -> None:
        if error.code() not in TOO_LARGE or self._one_by_one:
            call.settle(index, self._failed(error, record.topic))
            return
        with self._lock:
            if self._alone is None and not self._ended.is_set():
                self._alone = KafkaWriter(self._config, one_by_one=True)
        if self._alone is None:
            call.settle(index, self._refusal())
        else:
            self._alone.append([record], lambda outcomes: call.settle(index, outcomes[0]))

    def _refusal(self) -> StreamLakeError:
        return WriterFailed(self._fatal) if self._fatal else NotStored("append: the writer is closed")

    def _failed(self, error: KafkaError, topic: str) -> StreamLakeError:
        if self._fatal:
            return WriterFailed(f"append to {topic}: {self._fatal}")
        return failed_append(error, topic)

    def _on_error(self, error: KafkaError) -> None:
        # Every other error of the client as a whole is seen in the fate of the records.
        if is_fatal(error):
            self._fatal = f"the producer is beyond repair: {told(error)}"

    def _serve_reports(self) -> None:
        try:
            while not self._ended.is_set():
                self._producer.poll(POLL_S)
        finally:
            if not self._ended.is_set():
                self._fatal = self._fatal or "the thread for delivery reports has ended: a `done` has raised"


class _Call:
    """One append: its records' outcomes as they come in, from whichever thread."""

    __slots__ = ("_done", "_not_delivered", "_settled", "_size", "outcomes")

    def __init__(
        self,
        size: int,
        done: Callable[[Sequence[AppendOutcome]], None],
        not_delivered: Callable[[_Call, int, OutgoingRecord, KafkaError], None],
    ) -> None:
        self.outcomes: list[AppendOutcome | None] = [None] * size
        self._size = size
        self._done = done
        self._not_delivered = not_delivered
        # `next` of a count is one step of the interpreter: no two threads can both see the last number.
        self._settled = count(1).__next__

    def report(
        self, index: int, record: OutgoingRecord, error: KafkaError | None, message: Message[bytes, bytes]
    ) -> None:
        if error is None:
            self.settle(index, Appended(record.topic, cast(int, message.partition()), cast(int, message.offset())))
        else:
            self._not_delivered(self, index, record, error)

    def refuse(self, fault: StreamLakeError) -> None:
        for index in range(self._size):
            self.settle(index, fault)

    def settle(self, index: int, outcome: AppendOutcome) -> None:
        self.outcomes[index] = outcome
        if self._settled() == self._size:
            self._done(cast(list[AppendOutcome], self.outcomes))
