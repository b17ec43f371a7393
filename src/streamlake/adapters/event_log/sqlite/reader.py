"""Records out of the file: batches of bounded size, and reads without a group."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from streamlake.adapters.event_log.sqlite.database import OFFSET_MASK, Connections, Database, Lane, lane_of
from streamlake.domain.errors import PositionLost, TopicMissing
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Header, RecordBatch
from streamlake.domain.ports.event_log import LogReader

READ_RECORDS = 5_000
READ_BYTES = 16 * 1024 * 1024
"""What a batch has at most, and the last record that goes beyond it."""

encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode


def read_batch(
    connection: sqlite3.Connection,
    source: TopicPartition,
    lane: Lane,
    start: int,
    until: int,
    max_records: int,
    max_bytes: int,
) -> RecordBatch | None:
    """The records of `[start, until)`, but no more than a batch holds; None where there is none.

    Raises PositionLost where `start` is not within the partition's watermarks. Needs a snapshot around it.
    """
    if not lane.low <= start <= lane.next:
        raise PositionLost(f"{source}: offset {start} is outside of [{lane.low}, {lane.next}]")
    query = "SELECT place, timestamp, key, value, headers FROM record WHERE place >= ? AND place < ? LIMIT ?"
    cursor = connection.execute(query, (lane.base + start, lane.base + until, max_records))
    rows: list[tuple[int, int, bytes | None, bytes | None, bytes | None]] = []
    size = 0
    for row in cursor:
        rows.append(row)
        size += len(row[3] or b"")
        if size >= max_bytes:
            break
    cursor.close()
    if not rows:
        return None
    places, timestamps, keys, values, packed = zip(*rows, strict=True)
    headers: list[list[Header]] = [_decode_headers(p) if p else [] for p in packed]
    return RecordBatch(source, [place & OFFSET_MASK for place in places], timestamps, keys, values, headers)


def lane_by_number(connection: sqlite3.Connection, source: TopicPartition, number: int) -> Lane:
    """The same partition again, as it is now. Raises TopicMissing where it was deleted, whatever has its name."""
    row = connection.execute("SELECT number, low, next FROM lane WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise TopicMissing(f"{source}: the topic was deleted while it was being read")
    return Lane(*row)


class SqliteReader(LogReader):
    def __init__(self, database: Database) -> None:
        self._database = database
        self._connections = Connections(database)

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        with self._connections.looking() as connection, self._database.snapshot(connection):
            lane = lane_of(connection, source)
        if start < lane.low:
            raise PositionLost(f"{source}: offset {start} is below the low watermark {lane.low}")
        return self._batches(source, lane.number, start, min(until, lane.next))

    def _batches(self, source: TopicPartition, number: int, start: int, end: int) -> Iterator[RecordBatch]:
        while start < end:
            connection = self._connections.mine()
            with self._database.snapshot(connection):
                lane = lane_by_number(connection, source, number)
                batch = read_batch(connection, source, lane, start, end, READ_RECORDS, READ_BYTES)
            if batch is None:
                return
            yield batch
            start = batch.next_offset
