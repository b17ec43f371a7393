"""Parquet keeps the contract of part formats, and is what other programs expect of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.part_format import HEADERS, PAYLOADS, SOURCE, STATELESS, TEXT, PartFormatContract, rows_of

from streamlake.adapters.part_format.parquet import ROW_GROUP, ParquetPartFormat
from streamlake.domain.model.records import Header
from streamlake.domain.model.rows import Rows
from streamlake.domain.ports.part_format import PartFormat

FORM = ParquetPartFormat()
NOW = datetime(2026, 11, 21, 10, 33, tzinfo=UTC)


class TestParquet(PartFormatContract):
    """With the port's whole promise, read back from the columns."""

    @pytest.fixture
    def form(self) -> PartFormat:
        return FORM


def body_of(*rows: Rows, replay_id: str | None = None) -> bytes:
    return FORM.encode("orders", rows, replay_id).body


def columns_of(*rows: Rows, replay_id: str | None = None) -> dict[str, list[Any]]:
    """What a stranger reads, column by column; the payload as bytes."""
    table = pq.read_table(pa.BufferReader(body_of(*rows, replay_id=replay_id)))
    payload = table.column("payload").cast(pa.binary())
    told: dict[str, list[Any]] = table.to_pydict()
    return told | {"payload": payload.to_pylist()}


def row_with(**changes: Any) -> Rows:
    """One row in which these columns are as given."""
    rows = rows_of([b'{"order_id":"o-1"}'])
    for name, value in changes.items():
        setattr(rows, name, [value])
    return rows


def queried(body: bytes, query: str, folder: Path) -> list[tuple[Any, ...]]:
    """DuckDB's answer; the part is called `part` in the query."""
    path = folder / "part-0001.parquet"
    path.write_bytes(body)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(path)).create_view("part")
        return connection.execute(query).fetchall()


def test_the_names_are_the_published_ones() -> None:
    assert (FORM.name, FORM.content_type) == ("parquet", "application/vnd.apache.parquet")


def test_the_columns_are_typed_and_the_same_in_every_part() -> None:
    """Live or replay, with headers or without: BigQuery refuses to load files of different schemas together."""
    schemas = [
        pq.read_schema(pa.BufferReader(body))
        for body in (
            body_of(rows_of([b"{}"])),
            body_of(row_with(headers=[("a", None)], keys=None, ingested_ats="soon"), replay_id="r1"),
        )
    ]
    assert schemas[0].equals(schemas[1], check_metadata=True)
    assert {field.name: (str(field.type), field.nullable) for field in schemas[0] if field.name != "headers"} == {
        "dataset": ("string", False),
        "schema_version": ("string", False),
        "ingestion_id": ("string", False),
        "producer_service": ("string", True),
        "ingested_at": ("timestamp[us, tz=UTC]", True),
        "ingested_at_text": ("string", True),
        "topic": ("string", False),
        "partition": ("int32", False),
        "offset": ("int64", False),
        "timestamp": ("timestamp[ms, tz=UTC]", False),
        "key": ("string", True),
        "replay_id": ("string", True),
        "payload": ("string", False),
    }
    headers = schemas[0].field("headers").type
    assert (headers.key_type, headers.item_type.value_type) == (pa.string(), pa.binary())


def test_duckdb_takes_every_column_for_what_it_is(tmp_path: Path) -> None:
    told = queried(body_of(rows_of([b"{}"])), "SELECT column_name, column_type FROM (DESCRIBE part)", tmp_path)
    assert dict(told) == {
        "dataset": "VARCHAR",
        "schema_version": "VARCHAR",
        "ingestion_id": "VARCHAR",
        "producer_service": "VARCHAR",
        "ingested_at": "TIMESTAMP WITH TIME ZONE",
        "ingested_at_text": "VARCHAR",
        "topic": "VARCHAR",
        "partition": "INTEGER",
        "offset": "BIGINT",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "key": "VARCHAR",
        "headers": "MAP(VARCHAR, BLOB[])",
        "replay_id": "VARCHAR",
        "payload": "VARCHAR",
    }


def test_duckdb_reads_fields_out_of_the_payload(tmp_path: Path) -> None:
    rows = rows_of(['{"order_id":"ö-1 ☃","n":123456789012345678901234567890,"amount":99.90}'.encode()])
    rows.keys = ["ключ"]
    query = (
        "SELECT key, payload->>'$.order_id', payload->>'$.n', (payload->>'$.amount')::DECIMAL(18, 2)::VARCHAR FROM part"
    )
    assert queried(body_of(rows), query, tmp_path) == [("ключ", "ö-1 ☃", "123456789012345678901234567890", "99.90")]


def test_duckdb_reads_the_headers(tmp_path: Path) -> None:
    rows = row_with(headers=[("trace", b"\xff"), ("from", b"shop"), ("trace", None)])
    query = "SELECT headers['trace'], decode(headers['from'][1]), headers['other'] FROM part"
    assert queried(body_of(rows), query, tmp_path) == [([b"\xff", None], "shop", None)]


def test_duckdb_reads_moments(tmp_path: Path) -> None:
    told = queried(body_of(rows_of([b"{}"])), 'SELECT ingested_at, epoch_ms("timestamp") FROM part', tmp_path)
    assert told == [(NOW, 1_700_000_000_000)]


@pytest.mark.parametrize(
    "payload", [b'{\r\n\t"a" : 1.0\n}', b'{"a":"\\u00e9\\/\\ud800\\u0000","a":-0}', '{"é":"\u2028"}'.encode()]
)
def test_a_payload_is_byte_for_byte_what_was_sent(payload: bytes) -> None:
    """Line breaks too: a column is not a line."""
    assert columns_of(rows_of([payload, b"{}"]))["payload"] == [payload, b"{}"]


@STATELESS
@given(
    payloads=st.lists(PAYLOADS, min_size=1, max_size=4),
    key=st.none() | TEXT,
    service=st.none() | TEXT,
    ingestion_id=TEXT,
    headers=HEADERS,
)
def test_columns_hold_what_the_rows_had(
    payloads: list[bytes], key: str | None, service: str | None, ingestion_id: str, headers: list[Header]
) -> None:
    rows = rows_of(payloads, start=2**40)
    rows.keys[0], rows.producer_services[0], rows.ingestion_ids[0], rows.headers[-1] = (
        key,
        service,
        ingestion_id,
        headers,
    )
    told = columns_of(rows)
    assert told["payload"] == payloads
    assert (told["key"], told["producer_service"]) == (rows.keys, rows.producer_services)
    assert (told["ingestion_id"], told["offset"]) == (rows.ingestion_ids, list(rows.offsets))
    names = dict.fromkeys(name for name, _ in headers)
    assert told["headers"][-1] == [(name, [value for other, value in headers if other == name]) for name in names]
    assert told["headers"][:-1] == [[]] * (len(payloads) - 1)


def test_a_moment_in_the_usual_spelling_is_told_by_the_typed_column_alone() -> None:
    told = columns_of(rows_of([b"{}"] * 3))
    assert (told["ingested_at"], told["ingested_at_text"]) == ([NOW] * 3, [None] * 3)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T10:33:00Z", NOW),
        ("2026-11-21t10:33:00.000z", NOW),
        ("2026-11-21 11:33:00+01:00", NOW),
        ("2026-11-21T10:33:00.123456789Z", NOW + timedelta(microseconds=123456)),
        ("2026-11-21T10:33:00-00:00", NOW),
    ],
)
def test_a_moment_in_another_spelling_is_typed_and_keeps_its_text(text: str, moment: datetime) -> None:
    told = columns_of(row_with(ingested_ats=text), rows_of([b"{}"]))
    assert (told["ingested_at"], told["ingested_at_text"]) == ([moment, NOW], [text, None])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-21",
        "2026-11-21T10:33:00",
        "20261121T103300Z",
        "2026-02-30T10:33:00.000000Z",
        "2026-11-21T24:00:00.000000Z",
        "2026-12-31T23:59:60.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-11-21T10:33:00.000000Z\n",
        "２026-11-21T10:33:00.000000Z",
    ],
)
def test_what_names_no_moment_is_null_and_keeps_its_text(text: str) -> None:
    """It is a producer's header: whatever it says, its part must land."""
    told = columns_of(row_with(ingested_ats=text), rows_of([b"{}"]))
    assert (told["ingested_at"], told["ingested_at_text"]) == ([None, NOW], [text, None])


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00.000000Z", "0999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
)
def test_the_first_and_the_last_moment_survive(text: str) -> None:
    told = columns_of(row_with(ingested_ats=text))
    assert (told["ingested_at"], told["ingested_at_text"]) == ([datetime.fromisoformat(text)], [None])
    [envelope] = FORM.envelopes(body_of(row_with(ingested_ats=text)))
    assert f'"ingested_at":"{text}"'.encode() in envelope


@STATELESS
@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_every_moment_is_told_exactly(moment: datetime) -> None:
    text = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    told = columns_of(row_with(ingested_ats=text))
    assert (told["ingested_at"], told["ingested_at_text"]) == ([moment], [None])


def test_live_rows_have_a_replay_id_too_which_is_null() -> None:
    """So that a filter on it works whatever parts are read."""
    assert columns_of(rows_of([b"{}"]))["replay_id"] == [None]
    assert columns_of(rows_of([b"{}"] * 2), replay_id="r1")["replay_id"] == ["r1", "r1"]


def test_how_rows_are_chunked_does_not_show() -> None:
    rows = rows_of([b'{"n":%d}' % n for n in range(1000)])
    rows.headers[700] = [("a", b"1")]
    assert body_of(rows) == body_of(rows.pick(range(300)), rows.pick(range(300, 301)), rows.pick(range(301, 1000)))


def test_a_large_part_has_several_row_groups_in_order() -> None:
    many = ROW_GROUP + 10
    body = body_of(rows_of([b"{}"] * many))
    file = pq.ParquetFile(pa.BufferReader(body))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [ROW_GROUP, 10]
    assert file.read(["offset"]).column("offset").to_pylist() == list(range(many))
    assert sum(1 for _ in FORM.envelopes(body)) == many


def test_row_groups_do_not_end_where_partitions_do() -> None:
    """Nor is a row lost or doubled where a row group ends inside of one."""
    sizes = [ROW_GROUP - 1, 1, ROW_GROUP + 5, 3, 2 * ROW_GROUP - 8]
    chunks = [rows_of([b"{}"] * size, source=SOURCE._replace(partition=n)) for n, size in enumerate(sizes)]
    file = pq.ParquetFile(pa.BufferReader(body_of(*chunks)))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [ROW_GROUP] * 4
    table = file.read(["partition", "offset"])
    wanted = [(n, offset) for n, size in enumerate(sizes) for offset in range(size)]
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == wanted


def test_every_column_is_zstd_and_those_that_repeat_have_dictionaries() -> None:
    rows = rows_of([b'{"n":%d}' % n for n in range(100)])
    group = pq.ParquetFile(pa.BufferReader(body_of(rows))).metadata.row_group(0)
    chunks = {chunk.path_in_schema: chunk for chunk in map(group.column, range(group.num_columns))}
    assert {chunk.compression for chunk in chunks.values()} == {"ZSTD"}
    assert {name for name, chunk in chunks.items() if chunk.has_dictionary_page} >= {
        "dataset",
        "schema_version",
        "producer_service",
        "topic",
    }
    assert chunks["offset"].statistics.max == 99
    assert not chunks["payload"].is_stats_set


def test_rows_of_several_partitions_keep_theirs() -> None:
    other = SOURCE._replace(topic="streamlake.other.raw", partition=2**31 - 1)
    told = columns_of(rows_of([b"{}"]), rows_of([b"{}"] * 2, source=other))
    assert told["partition"] == [3, 2**31 - 1, 2**31 - 1]
    assert told["topic"] == [SOURCE.topic, other.topic, other.topic]


def test_a_part_that_was_cut_short_is_not_read_as_whole() -> None:
    with pytest.raises(ValueError, match="not a part in parquet"):
        list(FORM.envelopes(body_of(rows_of([b"{}"]))[:-9]))
