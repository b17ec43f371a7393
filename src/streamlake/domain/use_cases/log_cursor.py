"""A place in a partition that moves forward: records asked for by ascending offset, read in few long reads.

Opening a read is dear (a connection, on Kafka), so one is kept while what is asked for next lies ahead and near.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Header, RecordBatch
from streamlake.domain.ports.event_log import LogReader

NEAR = 50_000
"""Records nearer than this are read on to: opening a read costs about as much as reading so many."""

_END = 2**63 - 1


class Record(NamedTuple):
    """One visible record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class LogCursor:
    """One partition. Not safe for several threads."""

    def __init__(self, reader: LogReader, source: TopicPartition) -> None:
        self._reader = reader
        self._source = source
        self._batches: Iterator[RecordBatch] = iter(())
        self._batch: RecordBatch | None = None
        self._from = 0
        """No visible record lies between here and the batch."""

    def record(self, offset: int) -> Record | None:
        """The record at an offset; None where the log shows none. Raises `PositionLost` where it no longer can."""
        batch = self._batch
        if batch is None or not self._from <= offset < batch.next_offset:
            batch = self._move(offset)
        if batch is None:
            return None
        at = bisect_left(batch.offsets, offset)
        if batch.offsets[at] != offset:
            return None
        return Record(offset, batch.timestamps[at], batch.keys[at], batch.values[at], tuple(batch.headers[at]))

    def _move(self, offset: int) -> RecordBatch | None:
        """The batch that holds the offset, or the first one after it; None where the log ends before."""
        batch = self._batch
        if batch is None or not batch.next_offset <= offset < batch.next_offset + NEAR:
            return self._open(offset)
        while batch is not None and batch.next_offset <= offset:
            self._from = batch.next_offset
            batch = self._batch = next(self._batches, None)
        return batch if batch is not None else self._open(offset)  # it may have grown since

    def _open(self, offset: int) -> RecordBatch | None:
        self._batch, self._from = None, offset
        self._batches = iter(self._reader.read(self._source, offset, _END))
        self._batch = next(self._batches, None)
        return self._batch
