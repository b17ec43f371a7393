"""Bounded reads."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, Message

from streamlake.adapters.event_log.kafka.admin import KafkaAdmin
from streamlake.adapters.event_log.kafka.config import KafkaConfig
from streamlake.adapters.event_log.kafka.errors import END_OF_PARTITION, ails_the_client, fault_of, translated
from streamlake.adapters.event_log.kafka.records import columns, fetch, place_of
from streamlake.domain.errors import LogUnavailable, PositionLost
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import LogReader

MAX_RECORDS = 5_000
POLL_S = 1.0
SILENCE_S = 30.0
"""A broker with records to give gives some within the 10 s of socket.timeout.ms; this is three of those."""


class KafkaReader(LogReader):
    """Every read is a consumer of its own that is assigned its partition and joins no group.

    librdkafka wants a group to be named all the same: with ACLs, allow to read groups of the prefix
    `streamlake-reader-`.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        admin = KafkaAdmin(self._config)
        try:
            marks = admin.watermarks([source])[source]
        finally:
            admin.close()
        if start < marks.low:
            raise PositionLost(f"{source}: offset {start} is below the low watermark {marks.low}")
        return self._read(source, start, min(until, marks.high))

    def _read(self, source: TopicPartition, start: int, end: int) -> Iterator[RecordBatch]:
        if start >= end:
            return
        bounded = _BoundedRead(self._config, source, start, end)
        try:
            yield from bounded.batches()
        finally:
            bounded.close()


class _BoundedRead:
    def __init__(self, config: KafkaConfig, source: TopicPartition, start: int, end: int) -> None:
        self._source = source
        self._doing = f"read {source}"
        self._position = start
        self._end = end
        self._trouble: KafkaError | None = None
        properties = config.reader(f"streamlake-reader-{uuid.uuid4().hex}")
        self._consumer: Consumer = config.open_consumer(properties, error_cb=self._on_error)
        with translated(self._doing):
            self._consumer.assign([place_of(source, start)])

    def batches(self) -> Iterator[RecordBatch]:
        heard = time.monotonic()
        while self._position < self._end:
            messages = fetch(self._consumer, MAX_RECORDS, POLL_S)
            if messages:
                self._trouble = None
                yield from self._wanted(messages)
                heard = time.monotonic()  # after the caller's own work: that is not the broker's silence
            elif self._trouble is not None:
                raise fault_of(self._trouble, self._doing)
            elif time.monotonic() - heard > SILENCE_S:
                raise LogUnavailable(f"{self._doing}: nothing for {SILENCE_S} s at offset {self._position}")

    def close(self) -> None:
        self._consumer.close()

    def _wanted(self, messages: Sequence[Message[bytes, bytes]]) -> Iterator[RecordBatch]:
        records = []
        position = self._position
        for message in messages:
            if (error := message.error()) is not None and error.code() != END_OF_PARTITION:
                raise fault_of(error, self._doing)
            offset = message.offset() or 0
            if error is None and offset < self._end:
                records.append(message)
            # The end of the partition is a position, also where what lies before it are only markers.
            position = max(position, offset + 1 if error is None else offset)
        self._position = position
        if records:
            yield columns(self._source, records)

    def _on_error(self, error: KafkaError) -> None:
        if ails_the_client(error):
            self._trouble = error
