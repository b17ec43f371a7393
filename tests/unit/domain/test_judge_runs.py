"""The fast way of judging agrees with the full one, record by record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.worlds import BAD, DATASET, GOOD, NOW, P0, T0, TOPIC_ID, Catalog, contract, open_log

from streamlake.domain.model.envelope import AS_WE_WRITE_THEM
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Header, RecordBatch
from streamlake.domain.model.rows import Rows, longs
from streamlake.domain.use_cases.ingest_events import IngestEvents, IngestRequest
from streamlake.domain.use_cases.judge_records import JudgeRecords

CATALOG = Catalog(contract(1), contract(3))
USUAL: list[bytes | None] = [b"orders", b"v1", b"shop", b"2026-11-21T10:00:00.000001Z", b"an-id"]
ODD = st.sampled_from([None, b"", b"\xff", b"v3", b"v2", b"flights", b"x"])
Record = tuple[bytes | None, bytes | None, list[Header]]


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Mostly usual records; the others odd in one place or more."""
    values = [draw(ODD) if draw(st.integers(0, 9)) == 0 else value for value in USUAL]
    headers: list[Header] = list(zip(AS_WE_WRITE_THEM, values, strict=True))
    match draw(st.integers(0, 9)):
        case 0:
            headers.append(("trace", b"t"))
        case 1:
            headers.reverse()
        case 2:
            headers.pop()
    key = draw(st.sampled_from([b"k", b"k", b"k", None, b"\xff"]))
    return key, draw(st.sampled_from([GOOD, GOOD, GOOD, GOOD, BAD, None, b""])), headers


@given(st.lists(records(), min_size=1, max_size=30))
def test_a_run_has_the_rows_that_judging_one_by_one_has(given: list[Record]) -> None:
    judge = JudgeRecords(DATASET, CATALOG)
    n = len(given)
    keys, values, headers = zip(*given, strict=True)
    batch = RecordBatch(P0, list(range(n)), [T0] * n, keys, values, headers)
    at = 0
    while at < n:
        run = judge.run(batch, TOPIC_ID, at, n)
        expected = Rows(P0, TOPIC_ID)
        for i in range(at, at + len(run)):
            row = judge.judge(TOPIC_ID, 0, i, T0, keys[i], values[i], headers[i])
            expected.extend(row.as_rows(P0, TOPIC_ID, i, T0))
        run.headers = [list(each) for each in run.headers]
        assert run == expected
        at += len(run) + 1


def test_a_run_stops_only_where_it_must() -> None:
    """All of a thousand usual records; and of a bad one in the middle, all before it."""
    judge = JudgeRecords(DATASET, CATALOG)
    headers: list[Header] = list(zip(AS_WE_WRITE_THEM, USUAL, strict=True))
    values = [GOOD] * 1000
    batch = RecordBatch(P0, list(range(1000)), [T0] * 1000, [b"k"] * 1000, values, [headers] * 1000)
    assert len(judge.run(batch, TOPIC_ID, 0, 1000)) == 1000
    values[700] = BAD
    assert len(judge.run(batch, TOPIC_ID, 0, 1000)) == 700
    assert len(judge.run(batch, TOPIC_ID, 700, 1000)) == 0
    assert judge.run(batch, TOPIC_ID, 701, 1000).offsets == longs(range(701, 1000))


def test_the_headers_may_come_in_any_order_and_change_it() -> None:
    judge = JudgeRecords(DATASET, CATALOG)
    headers: list[Header] = list(zip(AS_WE_WRITE_THEM, USUAL, strict=True))
    mixed = [headers] * 10 + [headers[::-1]] * 10
    batch = RecordBatch(P0, list(range(20)), [T0] * 20, [b"k"] * 20, [GOOD] * 20, mixed)
    first, second = judge.run(batch, TOPIC_ID, 0, 20), judge.run(batch, TOPIC_ID, 10, 20)
    assert (len(first), len(second)) == (10, 10)
    assert first.ingestion_ids == second.ingestion_ids == ["an-id"] * 10


def test_what_ingestion_writes_is_usual() -> None:
    """What comes through the front door lands the fast way."""
    log = open_log()
    ingest = IngestEvents(CATALOG, log.writer(), max_event_bytes=1000)
    ingest.ingest(IngestRequest(DATASET, None, "shop", "token"), GOOD, NOW, lambda outcome: None)
    topic = log.admin().topics([P0.topic])[P0.topic]
    sources = [TopicPartition(P0.topic, n) for n in range(topic.partitions)]
    [batch] = [batch for source in sources for batch in log.reader().read(source, 0, 10)]
    assert tuple(name for name, _ in batch.headers[0]) == AS_WE_WRITE_THEM
    assert len(JudgeRecords(DATASET, CATALOG).run(batch, TOPIC_ID, 0, 1)) == 1
