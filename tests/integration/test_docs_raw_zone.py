"""docs/raw-zone.md does what it says: its queries run over parts that the real code has landed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.unit.domain.worlds import FORMATS, NOW, T0, open_log

from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.adapters.object_store.filesystem import FilesystemObjectStore
from streamlake.adapters.part_format.parquet import SCHEMA, ParquetPartFormat
from streamlake.domain.model.envelope import INGESTION_ID, PRODUCER_SERVICE
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import Header, RecordBatch
from streamlake.domain.model.rows import Rows, longs
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.domain.use_cases.part_log import PartLog, PartLogs
from streamlake.domain.use_cases.replay_records import COMPLETE, ReplayRecords
from streamlake.domain.use_cases.roll_up import parts_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/raw-zone.md").read_text()
SQL = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
VIEWS, BY_DAY, TYPED, PER_EVENT, TWICE, ROLL_UPS, LINES, ONCE = SQL[:8]
PARQUET_VIEWS, PARQUET_BY_DAY, PARQUET_HEADERS = SQL[8:]
EVERY_FORMAT = {**FORMATS, "parquet": ParquetPartFormat()}
SOURCE = TopicPartition("streamlake.orders.raw", 0)
TOPIC_ID = "memory-1"
LANE = Lane(TOPIC_ID, 0)
DAYS = [date(2026, 11, 21), date(2026, 11, 22)]
HEADERS: list[Header] = [
    (INGESTION_ID, b"f0000000-0000-5000-8000-000000000000"),
    (PRODUCER_SERVICE, b"shop"),
    ("trace", b"\xff"),
    ("trace", None),
    ("source", b"app"),
]


def order(number: int, amount: str) -> bytes:
    """An order, its amount spelt like that."""
    return (
        f'{{"order_id": "o-{number}",\n "customer_id": "c", "amount": {amount},'
        f' "event_time": "2026-11-21T09:30:00Z", "serial": 123456789012345678901234567890}}'
    ).encode()


@pytest.fixture(params=["json", "json.gz"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilesystemObjectStore:
    """What `land` lands, as lines."""
    monkeypatch.chdir(tmp_path)
    return land(request.param)


def land(part_format: str) -> FilesystemObjectStore:
    """Five orders on two days, the first sent twice, one record that is a dead letter, and a replay of one order."""
    store = FilesystemObjectStore(Path("lake"))
    store.create_bucket()
    logs = PartLogs(
        lambda day: PartLog(
            store, EVERY_FORMAT, "orders", day, wanted_format=part_format, writer="test", max_part_bytes=10**7
        )
    )
    log = open_log()
    core = LandRecords("orders", OdcsContractCatalog(ROOT / "contracts"), LandingLimits(10**7, 4, 60))
    landing = LandSnapshots("orders", log.admin(), log.writer(), logs)
    core.assign(SOURCE, TOPIC_ID, 0)
    values = [order(1, "99.90"), order(1, "99.90"), order(2, "0.10"), b"{}", order(3, "7"), order(4, "1e2")]
    received = RecordBatch(
        SOURCE,
        range(6),
        [T0, T0, T0 + 1, T0 + 2, T0 + DAY_MS, T0 + DAY_MS],
        [b"o"] * 6,
        values,
        [HEADERS, HEADERS, (), (), (), ()],
    )
    for snapshot in [*core.receive(received, 0.0), *core.drain("test")]:
        landing.land(snapshot, NOW)
    again = Rows(
        SOURCE, TOPIC_ID, longs([2]), longs([T0 + 1]), ["o"], ["v1"], ["i"], [None], [""], [()], [order(2, "0.10")]
    )
    logs.of("2026-11-21").land([again], {LANE: Offsets([(2, 3)])}, lambda _: None, "back-1")
    for part_log in logs:
        part_log.roll_up.write(0.0)
    return store


@pytest.fixture
def db(lake: FilesystemObjectStore) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the views of the page."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(VIEWS)
        yield connection


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the page's views of the same, landed as parquet."""
    monkeypatch.chdir(tmp_path)
    land("parquet")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(PARQUET_VIEWS)
        yield connection


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table below a heading."""
    table = PAGE.split(f"\n{heading}\n")[1].split("\n#")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def infos(store: FilesystemObjectStore) -> list[Any]:
    return [info for day in DAYS for _, info in parts_of(store.list(f"raw/dataset=orders/ingestion_date={day}/part-"))]


def test_events_by_day_are_counted_without_replays(db: duckdb.DuckDBPyConnection) -> None:
    rows = db.execute(BY_DAY).fetchall()
    assert [row[:2] for row in rows] == [(DAYS[0], 3), (DAYS[1], 2)]
    assert rows[0][2] == NOW
    assert db.execute("SELECT count(*) FROM orders_rows").fetchall() == [(6,)]


def test_decimals_come_out_of_the_payload_exactly(db: duckdb.DuckDBPyConnection) -> None:
    rows = db.execute(TYPED).fetchall()
    assert [(row[0], row[1]) for row in rows] == [
        ("o-1", Decimal("99.90")),
        ("o-1", Decimal("99.90")),
        ("o-2", Decimal("0.10")),
    ]


def test_an_event_that_was_sent_twice_can_be_read_once(db: duckdb.DuckDBPyConnection) -> None:
    assert [row[1] for row in db.execute(PER_EVENT).fetchall()] == ["o-1", "o-2", "o-3", "o-4"]


def test_no_offset_is_there_twice(db: duckdb.DuckDBPyConnection) -> None:
    assert db.execute(TWICE).fetchall() == []


def test_the_roll_ups_tell_the_totals(db: duckdb.DuckDBPyConnection, lake: FilesystemObjectStore) -> None:
    form = infos(lake)[0].name.split(".", 1)[1]
    assert db.execute(ROLL_UPS).fetchall() == [(DAYS[0], form, 2, 3), (DAYS[1], form, 1, 2)]


def test_duckdb_keeps_integers_and_makes_doubles_of_the_rest(db: duckdb.DuckDBPyConnection) -> None:
    texts = [row[0] for row in db.execute('SELECT payload::VARCHAR FROM orders_live ORDER BY "offset"').fetchall()]
    assert all('"serial":123456789012345678901234567890}' in text for text in texts)
    assert '"amount":99.9,' in texts[0]


def test_the_latest_complete_replay_wins_else_the_live_row(
    db: duckdb.DuckDBPyConnection, lake: FilesystemObjectStore
) -> None:
    def winners() -> list[tuple[int, str | None]]:
        db.execute(ONCE)
        return db.execute('SELECT "offset", replay_id FROM orders_once ORDER BY "offset"').fetchall()

    records = ReplayRecords(lake)
    first = records.begin("back-1", "me", "2026-11-21T10:00:00.000000Z")
    live = [(0, None), (1, None), (2, None), (4, None), (5, None)]
    assert winners() == live, "one that runs is not complete"
    first.update("2026-11-21T10:01:00.000000Z", state=COMPLETE)
    assert winners() == [*live[:2], (2, "back-1"), *live[3:]]
    form = infos(lake)[0].name.split(".", 1)[1]
    log = PartLog(lake, EVERY_FORMAT, "orders", "2026-11-21", wanted_format=form, writer="t", max_part_bytes=10**7)
    again = Rows(
        SOURCE,
        TOPIC_ID,
        longs([1, 2]),
        longs([T0, T0 + 1]),
        ["o"] * 2,
        ["v1"] * 2,
        ["i"] * 2,
        [None] * 2,
        [""] * 2,
        [()] * 2,
    )
    again.payloads = [order(1, "99.90"), order(2, "0.10")]
    log.land([again], {LANE: Offsets([(1, 3)])}, lambda _: None, "back-2")
    assert winners() == [*live[:2], (2, "back-1"), *live[3:]]
    records.begin("back-2", "me", "2026-11-21T10:02:00.000000Z").update("2026-11-21T10:03:00.000000Z", state=COMPLETE)
    assert winners() == [live[0], (1, "back-2"), (2, "back-2"), *live[3:]]


def test_lines_come_as_they_were_landed(db: duckdb.DuckDBPyConnection, lake: FilesystemObjectStore) -> None:
    info = infos(lake)[0]
    landed = FORMATS[info.name.split(".", 1)[1]].envelopes(lake.read(info.name)[1])
    assert [row[0].encode() for row in db.execute(LINES).fetchall()] == list(landed)


def test_the_envelope_has_the_fields_of_the_page_in_their_order(lake: FilesystemObjectStore) -> None:
    told = first_cells("## The envelope")[:13]
    for info in infos(lake):
        form = FORMATS[info.name.split(".", 1)[1]]
        for line in form.envelopes(lake.read(info.name)[1]):
            wanted = [name for name in told if name != "replay_id" or info.metadata["kind"] == "replay"]
            assert list(json.loads(line)) == wanted


def test_a_line_break_in_a_payload_is_a_space_and_all_else_is_as_it_was(lake: FilesystemObjectStore) -> None:
    info = infos(lake)[0]
    line = next(FORMATS[info.name.split(".", 1)[1]].envelopes(lake.read(info.name)[1]))
    assert line.endswith(b'"payload":' + order(1, "99.90").replace(b"\n", b" ") + b"}")


def test_headers_are_told_as_the_page_says(db: duckdb.DuckDBPyConnection) -> None:
    [(told,)] = db.execute('SELECT headers FROM orders_live WHERE "offset" = 0').fetchall()
    assert json.loads(told) == {"trace": [{"base64": "/w=="}, None], "source": "app"}


def test_a_part_says_of_itself_what_the_page_lists(lake: FilesystemObjectStore) -> None:
    named = set(first_cells("## What a part says of itself"))
    used = {name for info in infos(lake) for name in info.metadata}
    assert named == used


def test_the_roll_up_has_the_members_of_the_page(lake: FilesystemObjectStore) -> None:
    roll_up = json.loads(lake.read("raw/dataset=orders/ingestion_date=2026-11-21/_metadata.json")[1])
    named = {name.partition(".")[0] for name in first_cells("## `_metadata.json`")}
    assert named == roll_up.keys()
    [entry] = re.findall(r"^\| `parts` \| per part: (.*) \|$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", entry) == list(roll_up["parts"][0])
    [total] = re.findall(r"^\| `totals\.live` \| (.*) of the live parts \|$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", total) == list(roll_up["totals"]["live"])
    assert list(roll_up["totals"]["replays"]) == ["back-1"]


def test_parquet_has_the_columns_of_the_page_in_their_order() -> None:
    assert first_cells("### Parquet") == SCHEMA.names


def test_the_same_queries_run_over_parquet(parquet: duckdb.DuckDBPyConnection) -> None:
    assert [row[:2] for row in parquet.execute(TYPED).fetchall()] == [
        ("o-1", Decimal("99.90")),
        ("o-1", Decimal("99.90")),
        ("o-2", Decimal("0.10")),
    ]
    assert [row[1] for row in parquet.execute(PER_EVENT).fetchall()] == ["o-1", "o-2", "o-3", "o-4"]
    assert parquet.execute(TWICE).fetchall() == []
    assert parquet.execute(ROLL_UPS).fetchall() == [(DAYS[0], "parquet", 2, 3), (DAYS[1], "parquet", 1, 2)]


def test_events_in_parquet_are_counted_by_day_without_replays(parquet: duckdb.DuckDBPyConnection) -> None:
    rows = parquet.execute(PARQUET_BY_DAY).fetchall()
    assert [row[:2] for row in rows] == [(DAYS[0], 3), (DAYS[1], 2)]
    assert rows[0][2] == NOW
    assert parquet.execute("SELECT count(*) FROM orders_rows").fetchall() == [(6,)]


def test_headers_and_decimals_come_out_of_parquet(parquet: duckdb.DuckDBPyConnection) -> None:
    assert parquet.execute(PARQUET_HEADERS).fetchall() == [
        ("o-1", Decimal("99.90"), "app", [b"\xff", None]),
        ("o-1", Decimal("99.90"), "app", [b"\xff", None]),
        ("o-2", Decimal("0.10"), None, None),
    ]


def test_a_payload_in_parquet_is_the_text_that_was_sent(parquet: duckdb.DuckDBPyConnection) -> None:
    [(text,)] = parquet.execute('SELECT payload FROM orders_live WHERE "offset" = 0').fetchall()
    assert text.encode() == order(1, "99.90")
