"""Parquet: the envelope as typed columns, the payload as a column of JSON text. Needs `streamlake[parquet]`.

Every part has the same columns, whatever is in it, so that readers may take many parts as one table:

    dataset, schema_version, ingestion_id   text
    producer_service, key, replay_id        text or null
    ingested_at                             UTC, microseconds; null where the header does not name a moment
    ingested_at_text                        the header itself, where `ingested_at` alone does not tell it; else null
    topic, partition, offset                text, 32 bits, 64 bits
    timestamp                               UTC, milliseconds
    headers                                 map: name -> list of values, each bytes or null
    payload                                 the producer's bytes, line breaks included

Arrow's own schema is not stored: readers see Parquet's types alone, and small parts stay small.
"""

from __future__ import annotations

import base64
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import google_crc32c
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamlake.domain.model.records import Header
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.times import rfc3339
from streamlake.domain.ports.part_format import EncodedPart, PartFormat

_HEADERS = pa.map_(pa.string(), pa.list_(pa.binary()))
_INGESTED_AT = pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("schema_version", pa.string(), nullable=False),
        pa.field("ingestion_id", pa.string(), nullable=False),
        pa.field("producer_service", pa.string()),
        pa.field("ingested_at", _INGESTED_AT),
        pa.field("ingested_at_text", pa.string()),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("key", pa.string()),
        pa.field("headers", _HEADERS, nullable=False),
        pa.field("replay_id", pa.string()),
        pa.field("payload", pa.large_string(), nullable=False),
    ]
)
"""`large_string` is Arrow's alone (offsets of 64 bits in memory): in the file it is a string as any other."""

_REPEATING = [
    "dataset",
    "schema_version",
    "producer_service",
    "ingested_at_text",
    "topic",
    "partition",
    "key",
    "headers.key_value.key",
    "headers.key_value.value.list.element",
    "replay_id",
]
"""Columns worth a dictionary. Parquet gives it up by itself where values turn out not to repeat."""

_PRUNING = ["schema_version", "ingestion_id", "ingested_at", "partition", "offset", "timestamp", "key", "replay_id"]
"""Columns with statistics, by which readers leave row groups out."""

ROW_GROUP = 65_536
"""Of usual events well above the 16 MiB that BigQuery asks for; and all that is in memory as columns at a time."""

_BATCH = 8192
"""Rows that are unpacked at once on the way back."""

_CANONICAL = (
    r"^([1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z$"  # Arrow has a year 0
)
"""How `rfc3339` writes a moment. What is written so, and is a moment, the typed column tells alone."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


class ParquetPartFormat(PartFormat):
    """One file of zstd pages. `envelopes` gives what `json` would have had, from the columns."""

    name = "parquet"
    content_type = "application/vnd.apache.parquet"

    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink,
            SCHEMA,
            compression="zstd",
            use_dictionary=_REPEATING,
            write_statistics=_PRUNING,
            store_schema=False,
        ) as writer:
            for group in _groups(rows):
                writer.write_table(_table(dataset, group, replay_id), ROW_GROUP)
        body: bytes = sink.getvalue().to_pybytes()
        return EncodedPart(body, base64.b64encode(google_crc32c.Checksum(body).digest()).decode())

    def envelopes(self, body: bytes) -> Iterator[bytes]:
        try:
            for batch in pq.ParquetFile(pa.BufferReader(body)).iter_batches(_BATCH):
                yield from _envelopes(batch)
        except (pa.ArrowException, OSError, KeyError) as damaged:
            raise ValueError(f"not a part in parquet: {type(damaged).__name__}") from None


def _groups(rows: Iterable[Rows]) -> Iterator[list[Rows]]:
    """The rows by row group, in order."""
    group: list[Rows] = []
    room = ROW_GROUP
    for chunk in rows:
        start = 0
        while len(chunk) - start >= room:
            yield [*group, chunk.pick(range(start, start + room))]
            group, start, room = [], start + room, ROW_GROUP
        if start < len(chunk):
            group.append(chunk.pick(range(start, len(chunk))) if start else chunk)
            room -= len(chunk) - start
    if group:
        yield group


def _table(dataset: str, rows: Sequence[Rows], replay_id: str | None) -> Any:
    count = sum(map(len, rows))
    ingested_at, ingested_at_text = _moments(_column([chunk.ingested_ats for chunk in rows], pa.string()))
    columns = {
        "dataset": pa.repeat(dataset, count),
        "schema_version": _column([chunk.schema_versions for chunk in rows], pa.string()),
        "ingestion_id": _column([chunk.ingestion_ids for chunk in rows], pa.string()),
        "producer_service": _column([chunk.producer_services for chunk in rows], pa.string()),
        "ingested_at": ingested_at,
        "ingested_at_text": ingested_at_text,
        "topic": pa.concat_arrays([pa.repeat(chunk.source.topic, len(chunk)) for chunk in rows]),
        "partition": pa.concat_arrays(
            [pa.repeat(pa.scalar(chunk.source.partition, pa.int32()), len(chunk)) for chunk in rows]
        ),
        "offset": _numbers([chunk.offsets for chunk in rows], pa.int64()),
        "timestamp": _numbers([chunk.timestamps for chunk in rows], SCHEMA.field("timestamp").type),
        "key": _column([chunk.keys for chunk in rows], pa.string()),
        "headers": _maps(chain.from_iterable(chunk.headers for chunk in rows)),
        "replay_id": pa.repeat(pa.scalar(replay_id, pa.string()), count),
        "payload": _column([chunk.payloads for chunk in rows], pa.large_string()),
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def _column(values: Sequence[Sequence[object]], kind: Any) -> Any:
    return pa.array(values[0] if len(values) == 1 else [*chain.from_iterable(values)], kind)


def _numbers(values: Sequence[array[int]], kind: Any) -> Any:
    return pa.concat_arrays([pa.Array.from_buffers(kind, len(each), [None, pa.py_buffer(each)]) for each in values])


def _moments(texts: Any) -> tuple[Any, Any]:
    """Each text as a moment, where it names one, and the text, where the moment alone does not tell it."""
    if pc.all(pc.match_substring_regex(texts, _CANONICAL)).as_py():
        try:
            return texts.cast(_INGESTED_AT), pa.nulls(len(texts), pa.string())
        except pa.ArrowInvalid:
            pass  # the 30th of February: one at a time
    told = texts.to_pylist()
    moments = [_moment(text) for text in told]
    kept = [None if at and rfc3339(at) == text else text for at, text in zip(moments, told, strict=True)]
    return pa.array(moments, _INGESTED_AT), pa.array(kept, pa.string())


def _moment(text: str) -> datetime | None:
    """The moment of RFC 3339 text, cut to microseconds."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        rfc3339(moment)
    except (ValueError, OverflowError):  # no such day, or outside the years 1 to 9999 in UTC
        return None
    return moment


def _maps(headers: Iterable[Sequence[Header]]) -> Any:
    """Name -> values in the record's order. A map must not repeat a key (DuckDB refuses it), a record may."""
    starts, names, ends, values = [0], [], [0], []
    for each in headers:
        if each:
            told: dict[str, list[bytes | None]] = {}
            for name, value in each:
                told.setdefault(name, []).append(value)
            for name, of_name in told.items():
                names.append(name)
                values += of_name
                ends.append(len(values))
        starts.append(len(names))
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.binary()))
    return pa.MapArray.from_arrays(pa.array(starts, pa.int32()), pa.array(names, pa.string()), lists)


def _envelopes(batch: Any) -> Iterator[bytes]:
    told = {name: batch.column(name) for name in batch.schema.names}
    told["ingested_at"] = pc.coalesce(told.pop("ingested_at_text"), _texts(told["ingested_at"]))
    told["timestamp"] = told["timestamp"].cast(pa.int64())
    told["payload"] = told["payload"].cast(pa.binary())
    encode = msgspec.json.Encoder().encode
    for row in zip(*(column.to_pylist() for column in told.values()), strict=True):
        envelope: dict[str, Any] = dict(zip(told, row, strict=True))
        envelope["headers"] = {name: _header(values) for name, values in envelope["headers"]}
        if envelope["replay_id"] is None:
            del envelope["replay_id"]
        # A raw CR or LF can only stand between tokens of valid JSON, where a space means the same.
        envelope["payload"] = msgspec.Raw(envelope["payload"].replace(b"\n", b" ").replace(b"\r", b" "))
        yield encode(envelope)


def _texts(moments: Any) -> Any:
    """As `rfc3339` writes them. By a cast, since Arrow's strftime looks for a time zone database."""
    dates_and_times = moments.cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(dates_and_times, " ", "T"), "Z", "")


def _header(values: Sequence[bytes | None]) -> Any:
    told = [_header_value(value) for value in values]
    return told[0] if len(told) == 1 else told


def _header_value(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
