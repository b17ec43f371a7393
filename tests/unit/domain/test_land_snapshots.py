"""The landing thread's side: letters, then parts, whatever fails; and nothing of a log that is no more."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from tests.unit.domain.faults import Fault, FaultyStore, FaultyWriter
from tests.unit.domain.verdict import Verdict, bodies, check_chain, parts_in, verdict
from tests.unit.domain.worlds import (
    BAD,
    DATASET,
    DATE,
    DLQ,
    GOOD,
    L0,
    NEXT_DATE,
    NOW,
    P0,
    P1,
    PREFIX,
    RAW,
    T0,
    TOPIC_ID,
    Catalog,
    batch,
    land,
    lettered_offsets,
    letters_in,
    open_log,
    part_log,
    part_logs,
    put_part,
)

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import (
    DeadLetterTopicMissing,
    NotStored,
    OutcomeUnknown,
    RecordTooLarge,
    SettingsInvalid,
    StoreUnavailable,
    StreamLakeError,
    TopicMissing,
    TopicRecreated,
)
from streamlake.domain.model.dead_letters import TRUNCATED_BYTES
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.ports.event_log import LogWriter, TopicSpec
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.land_records import LETTERS_AT_ONCE, LandingLimits, LandRecords, LandSnapshots

FRACTURED = {1: BAD, 3: None}
"""Of the five records of `sealed()`, these two are bad."""

LIMITS = LandingLimits(10**9, 10**9, 60)


def sealed(
    count: int = 5,
    *,
    values: Mapping[int, bytes | None] = FRACTURED,
    timestamps: Mapping[int, int] | None = None,
) -> Snapshot:
    """A snapshot of the first offsets of partition 0."""
    core = LandRecords(DATASET, Catalog(), LIMITS)
    core.assign(P0, TOPIC_ID, 0)
    assert core.receive(batch(range(count), values=values, timestamps=timestamps), 0) == []
    [snapshot] = core.drain("test")
    return snapshot


def landing(log: MemoryEventLog, store: ObjectStore, writer: LogWriter | None = None) -> LandSnapshots:
    """The landing of a fresh process."""
    return LandSnapshots(DATASET, log.admin(), writer or log.writer(), part_logs(store))


def places(count: int = 5) -> set[tuple[int, int]]:
    return {(0, offset) for offset in range(count)}


def test_good_records_become_rows_and_bad_ones_letters() -> None:
    log, store = open_log(), MemoryObjectStore()
    snapshot = sealed()
    landing(log, store).land(snapshot, NOW)
    assert bodies(store) == [[0, 2, 4]]
    assert lettered_offsets(log) == [(0, 1), (0, 3)]
    assert [part.name for part in snapshot.parts] == [PREFIX + "part-0001.json"]
    assert [letter.source.offset for letter, _ in snapshot.lettered] == [1, 3]
    assert {value for value, _ in letters_in(log)} == {BAD, None}


def test_a_letter_says_which_contract_judged_it() -> None:
    log = open_log()
    landing(log, MemoryObjectStore()).land(sealed(values={1: BAD}), NOW)
    [(_, told)] = letters_in(log)
    assert told["dlq_contract"] == b"v1 sha256:" + b"ab" * 32
    assert told["dlq_stage"] == b"consumer"


def test_no_part_comes_to_be_before_every_letter_is_acknowledged() -> None:
    log, store = open_log(), FaultyStore(MemoryObjectStore())
    writer = FaultyWriter(log.writer(), {2: NotStored("down")})
    landing_ = landing(log, store, writer)
    snapshot = sealed()
    with pytest.raises(NotStored):
        landing_.land(snapshot, NOW)
    assert store.writes == []
    landing_.land(snapshot, NOW)
    assert bodies(store) == [[0, 2, 4]]


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (NotStored("down"), NotStored),
        (OutcomeUnknown("timeout"), OutcomeUnknown),
        (TopicMissing("gone"), DeadLetterTopicMissing),
    ],
)
def test_letters_acknowledged_are_not_sent_again(outcome: StreamLakeError, fault: type[StreamLakeError]) -> None:
    log = open_log()
    writer = FaultyWriter(log.writer(), {2: outcome})
    landing_ = landing(log, MemoryObjectStore(), writer)
    snapshot = sealed(values={0: BAD, 1: BAD, 2: BAD})
    with pytest.raises(fault):
        landing_.land(snapshot, NOW)
    landing_.land(snapshot, NOW)
    offsets = [dict(record.headers)["dlq_source_offset"] for record in writer.sent]
    assert offsets == [b"0", b"1", b"2", b"1"]
    assert lettered_offsets(log) == [(0, 0), (0, 1), (0, 2)]


def test_more_letters_than_go_at_once_all_go() -> None:
    """Every third record is bad, so that no circuit breaker minds."""
    log = open_log()
    count = 3 * (2 * LETTERS_AT_ONCE + 1)
    bad = range(0, count, 3)
    writer = FaultyWriter(log.writer(), {LETTERS_AT_ONCE + 5: NotStored("down")})
    landing_ = landing(log, MemoryObjectStore(), writer)
    snapshot = sealed(count, values=dict.fromkeys(bad, BAD))
    with pytest.raises(NotStored):
        landing_.land(snapshot, NOW)
    landing_.land(snapshot, NOW)
    assert lettered_offsets(log) == [(0, offset) for offset in bad]


def test_a_snapshot_of_letters_alone_makes_no_object() -> None:
    log, store = open_log(), MemoryObjectStore()
    landing(log, store).land(sealed(1, values={0: BAD}), NOW)
    assert list(store.list("")) == []
    assert lettered_offsets(log) == [(0, 0)]


def test_what_has_landed_is_not_lettered_by_a_process_with_another_contract() -> None:
    log, store = open_log(), MemoryObjectStore()
    land(part_log(store), 0, 5)
    landing(log, store).land(sealed(), NOW)
    assert lettered_offsets(log) == []
    assert bodies(store) == [[0, 1, 2, 3, 4]]


def test_what_was_lettered_around_what_landed_is_not_lettered_again() -> None:
    log, store = open_log(), MemoryObjectStore()
    landing(log, store).land(sealed(), NOW)
    landing(log, store).land(sealed(), NOW)
    assert lettered_offsets(log) == [(0, 1), (0, 3)]


def test_a_record_without_a_date_is_lettered_too() -> None:
    log, store = open_log(), MemoryObjectStore()
    landing(log, store).land(sealed(1, values={}, timestamps={0: -1}), NOW)
    assert lettered_offsets(log) == [(0, 0)]


def test_a_letter_too_large_for_its_topic_is_truncated() -> None:
    log = open_log(dlq_bytes=2 * TRUNCATED_BYTES)
    large = b"x" * (3 * TRUNCATED_BYTES)
    landing(log, MemoryObjectStore()).land(sealed(1, values={0: large}), NOW)
    [(value, told)] = letters_in(log)
    assert value == large[:TRUNCATED_BYTES]
    assert told["dlq_truncated_from_bytes"] == str(len(large)).encode()


def test_a_topic_too_small_for_any_letter_is_the_operators_fault_and_nothing_is_lost() -> None:
    log, store = open_log(dlq_bytes=100), MemoryObjectStore()
    snapshot = sealed()
    with pytest.raises(SettingsInvalid, match="too small"):
        landing(log, store).land(snapshot, NOW)
    log.admin().configure_topic(DLQ, {"max.message.bytes": "100000"})
    landing(log, store).land(snapshot, NOW)
    assert verdict(places(), store, lettered_offsets(log)) == Verdict()


def test_a_truncated_letter_that_fails_is_tried_again() -> None:
    log = open_log()
    writer = FaultyWriter(log.writer(), {1: RecordTooLarge("x"), 2: NotStored("down")})
    landing_ = landing(log, MemoryObjectStore(), writer)
    snapshot = sealed(1, values={0: BAD})
    with pytest.raises(NotStored):
        landing_.land(snapshot, NOW)
    landing_.land(snapshot, NOW)
    assert lettered_offsets(log) == [(0, 0)]


def test_a_missing_dead_letter_topic_halts_and_heals() -> None:
    log, store = open_log(dlq=False), MemoryObjectStore()
    snapshot = sealed()
    with pytest.raises(DeadLetterTopicMissing, match="dlq"):
        landing(log, store).land(snapshot, NOW)
    assert list(store.list("")) == []
    log.admin().create_topic(TopicSpec(DLQ, 1, 1))
    landing(log, store).land(snapshot, NOW)
    assert verdict(places(), store, lettered_offsets(log)) == Verdict()


def test_records_of_a_recreated_topic_land_nowhere() -> None:
    log, store = open_log(), FaultyStore(MemoryObjectStore())
    snapshot = sealed()
    log.delete_topic(RAW)
    log.admin().create_topic(TopicSpec(RAW, 2, 1))
    with pytest.raises(TopicRecreated, match=TOPIC_ID):
        landing(log, store).land(snapshot, NOW)
    assert store.calls == []
    assert letters_in(log) == []


def test_records_of_a_topic_that_is_gone_land_nowhere() -> None:
    log, store = open_log(), FaultyStore(MemoryObjectStore())
    log.delete_topic(RAW)
    with pytest.raises(TopicMissing, match=RAW):
        landing(log, store).land(sealed(), NOW)
    assert store.calls == []
    assert letters_in(log) == []


def test_a_damaged_prefix_halts_the_partitions_that_need_it_and_no_other() -> None:
    """Partition 0 has a row of that date, partition 1 has none."""
    log, store = open_log(), MemoryObjectStore()
    put_part(store, PREFIX + "part-0002.json", {})
    core = LandRecords(DATASET, Catalog(), LIMITS)
    for source, day in ((P0, 0), (P1, 1)):
        core.assign(source, TOPIC_ID, 0)
        core.receive(batch(range(3), source, timestamps=dict.fromkeys(range(3), T0 + day * DAY_MS)), 0)
    [snapshot] = core.drain("test")
    landing(log, store).land(snapshot, NOW)
    assert bodies(store, NEXT_DATE) == [[0, 1, 2]]
    assert core.settled(snapshot).keys() == {P1}
    assert [(source, str(fault)) for source, fault in core.halted(snapshot).items()] == [
        (P0, f"{PREFIX}part-0001.json: is missing, though {PREFIX}part-0002.json is there: somebody deleted it")
    ]


def test_a_letter_dated_into_a_damaged_prefix_is_not_sent_and_holds_back_its_partition_alone() -> None:
    log, store = open_log(), MemoryObjectStore()
    put_part(store, PREFIX + "part-0002.json", {})
    core = LandRecords(DATASET, Catalog(), LIMITS)
    for source, day, bad in ((P0, 0, 0), (P1, 1, 1)):
        core.assign(source, TOPIC_ID, 0)
        times = dict.fromkeys(range(2), T0 + day * DAY_MS)
        core.receive(batch(range(2), source, values={bad: BAD}, timestamps=times), 0)
    [snapshot] = core.drain("test")
    landing(log, store).land(snapshot, NOW)
    assert lettered_offsets(log) == [(1, 1)]
    assert (set(core.settled(snapshot)), set(core.halted(snapshot))) == ({P1}, {P0})


def test_what_was_read_after_a_halted_record_does_not_land_before_it() -> None:
    """A later snapshot of the same assignment, already on its way when the partition was halted."""
    log, store = open_log(), MemoryObjectStore()
    put_part(store, PREFIX + "part-0002.json", {})
    core, landing_ = LandRecords(DATASET, Catalog(), LIMITS), landing(log, store)
    core.assign(P0, TOPIC_ID, 0)
    sent = []
    for offset in (0, 1):
        core.receive(batch([offset], timestamps={offset: T0 + offset * DAY_MS}), 0)
        sent += core.drain("test")
    for snapshot in sent:
        landing_.land(snapshot, NOW)
    assert bodies(store, NEXT_DATE) == []
    assert [core.settled(snapshot) for snapshot in sent] == [{}, {}]


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("restart", [True, False])
def test_any_store_call_may_fail_and_each_offset_is_once_a_row_or_a_letter(
    nth: int, fault: Fault, restart: bool
) -> None:
    log = open_log()
    store = FaultyStore(MemoryObjectStore(), {nth: fault, nth + 2: Fault.AFTER})
    days = {offset: T0 + (offset % 2) * DAY_MS for offset in range(8)}
    snapshot, landing_ = sealed(8, timestamps=days), landing(log, store)
    for _ in range(10):
        with suppress(StoreUnavailable):
            landing_.land(snapshot, NOW)
            break
        if restart:
            snapshot, landing_ = sealed(8, timestamps=days), landing(log, store)
    else:
        pytest.fail("never done")
    store.deliver()
    store.script.clear()
    landing(log, store).land(sealed(8, timestamps=days), NOW)
    found = verdict(places(8), store, lettered_offsets(log))
    assert found == Verdict()
    for date in (DATE, NEXT_DATE):
        check_chain(store, date)
        assert [part.claims for _, part in parts_in(store, date)] == [sealed(8).claims()]


def test_the_same_landing_goes_on_where_it_was() -> None:
    """After a fault the date that landed is not offered again, and parts already told are not told again."""
    log = open_log()
    days = {offset: T0 + (offset % 2) * DAY_MS for offset in range(4)}
    store = FaultyStore(MemoryObjectStore(), {5: Fault.BEFORE})
    snapshot, landing_ = sealed(4, values={}, timestamps=days), landing(log, store)
    with pytest.raises(StoreUnavailable):
        landing_.land(snapshot, NOW)
    assert (len(snapshot.parts), len(snapshot.days)) == (1, 1)
    landing_.land(snapshot, NOW)
    assert (len(snapshot.parts), len(snapshot.days)) == (2, 0)
    assert [part.info.records for part in snapshot.parts] == [2, 2]


def test_claims_cover_the_letters_around_the_rows() -> None:
    log, store = open_log(), MemoryObjectStore()
    landing(log, store).land(sealed(values={0: BAD, 4: BAD}), NOW)
    [(_, part)] = parts_in(store, DATE)
    assert list(part.claims[L0]) == [(0, 5)]
    assert part.rows is not None
    assert list(part.rows[L0]) == [(1, 4)]


def test_payloads_reach_the_raw_zone_as_they_came() -> None:
    log, store = open_log(), MemoryObjectStore()
    odd = b'{"id" : "\\u0061",  "id":"b", "n": 1.0, "big": 123456789012345678901234567890}'
    landing(log, store).land(sealed(2, values={0: odd, 1: GOOD}), NOW)
    assert store.read(PREFIX + "part-0001.json")[1].splitlines()[0].endswith(b'"payload":' + odd + b"}")
