"""The poll thread's side: records in, sealed snapshots out, and what may be committed. Chunking must not matter."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.worlds import BAD, DATASET, DAY, L0, P0, P1, T0, TOPIC_ID, Catalog, batch

from streamlake.domain.model.parts import PartInfo
from streamlake.domain.model.positions import Offsets, Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.snapshots import LandedPart, Snapshot, commit_metadata
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.use_cases.land_records import FILL, MAX_DATES, LandingLimits, LandRecords

LOOSE = LandingLimits(max_bytes=10**9, max_records=10**9, max_age_s=60)


def landing(limits: LandingLimits = LOOSE, *, start: int = 0, sources: Sequence[TopicPartition] = (P0,)) -> LandRecords:
    """A core that owns these partitions."""
    core = LandRecords(DATASET, Catalog(), limits)
    for source in sources:
        core.assign(source, TOPIC_ID, start)
    return core


def rows_in(snapshot: Snapshot, source: TopicPartition = P0) -> list[int]:
    """The offsets of its rows, date by date."""
    return [offset for day in snapshot.days.values() if source in day for offset in day[source].offsets]


def letters_in(snapshot: Snapshot, source: TopicPartition = P0) -> list[int]:
    return [letter.source.offset for letter in snapshot.letters if letter.source.partition == source.partition]


def only(sealed: Sequence[Snapshot]) -> Snapshot:
    [snapshot] = sealed
    return snapshot


LOGS = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 3)), max_size=30)
"""Per record: is it bad, how many days late is it, and how far is it to the next offset."""
STEPS = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 40), st.sampled_from(["none", "tick", "drain"])))
LIMITS = st.builds(LandingLimits, st.integers(300, 3000), st.integers(1, 9), st.integers(1, 90))


@settings(max_examples=300)
@given(LOGS, LOGS, STEPS, LIMITS)
def test_chunking_must_not_matter(
    one: list[tuple[bool, int, int]],
    other: list[tuple[bool, int, int]],
    steps: list[tuple[int, int, str]],
    limits: LandingLimits,
) -> None:
    """Whatever the batches, ticks and limits: each offset is once a row or a letter, and spans follow on."""
    core = landing(limits, sources=(P0, P1))
    logs = {P0: records_of(one, P0), P1: records_of(other, P1)}
    sealed: list[Snapshot] = []
    now = 0.0
    cursors = dict.fromkeys(logs, 0)
    for at, (count, seconds, then) in enumerate([*steps, (100, 0, "none"), (100, 0, "none")]):
        source = (P0, P1)[at % 2]
        taken = logs[source][cursors[source] : cursors[source] + count]
        cursors[source] += count
        if taken:
            sealed += core.receive(joined(taken), now)
        now += seconds
        if then != "none":
            sealed += core.tick(now) if then == "tick" else core.drain("test")
    sealed += core.drain("end")
    for source, log in logs.items():
        offsets = [record.offsets[0] for record in log]
        rows = [offset for snapshot in sealed for offset in rows_in(snapshot, source)]
        letters = [offset for snapshot in sealed for offset in letters_in(snapshot, source)]
        assert sorted(rows + letters) == offsets
        assert letters == [record.offsets[0] for record in log if record.values[0] == BAD]
        spans = [snapshot.spans[source] for snapshot in sealed if source in snapshot.spans]
        assert [span.start for span in spans] == [0, *(span.end for span in spans)][: len(spans)]
        assert not spans or spans[-1].end == offsets[-1] + 1
    for snapshot in sealed:
        assert 0 < snapshot.records <= limits.max_records
        for source, span in snapshot.spans.items():
            assert all(span.start <= offset < span.end for offset in rows_in(snapshot, source))
        for day, by_source in snapshot.days.items():
            assert all(stamp // DAY_MS == day for rows in by_source.values() for stamp in rows.timestamps)
            assert all([*rows.offsets] == sorted(rows.offsets) for rows in by_source.values())


def records_of(told: list[tuple[bool, int, int]], source: TopicPartition) -> list[RecordBatch]:
    """One batch of one record each."""
    found, offset = [], 0
    for bad, days, step in told:
        offset += step
        values = {offset: BAD} if bad else {}
        found.append(batch([offset], source, values=values, timestamps={offset: T0 - days * DAY_MS}))
    return found


def joined(singles: Sequence[RecordBatch]) -> RecordBatch:
    """One batch of them all."""
    return RecordBatch(
        singles[0].source,
        [single.offsets[0] for single in singles],
        [single.timestamps[0] for single in singles],
        [single.keys[0] for single in singles],
        [single.values[0] for single in singles],
        [single.headers[0] for single in singles],
    )


def test_a_snapshot_has_exactly_as_many_records_as_it_may() -> None:
    sealed = landing(LandingLimits(10**9, 4, 60)).receive(batch(range(10)), 0)
    assert [(snapshot.records, snapshot.reason) for snapshot in sealed] == [(4, "records"), (4, "records")]


def test_letters_count_as_records() -> None:
    sealed = landing(LandingLimits(10**9, 2, 60)).receive(batch(range(2), values={0: BAD, 1: BAD}), 0)
    assert only(sealed).records == 2


def test_age_counts_from_the_first_record_and_needs_no_new_one() -> None:
    core = landing()
    core.receive(batch([0]), 100)
    core.receive(batch([1]), 159)
    assert core.opened_at == 100
    assert core.tick(159.9) == []
    assert only(core.tick(160)).reason == "age"
    assert core.tick(1000) == []
    assert core.opened_at is None


def test_a_snapshot_is_full_when_a_part_is_expected_to_be() -> None:
    core = landing(LandingLimits(3000, 10**9, 60))
    [sealed] = core.receive(batch(range(12)), 0)
    assert sealed.reason == "bytes"
    [size] = sealed.day_bytes.values()
    assert 3000 * FILL <= size < 3000


def test_what_parts_really_took_is_learnt_from() -> None:
    core = landing(LandingLimits(3000, 10**9, 60))
    [first] = core.receive(batch(range(8)), 0)
    info = PartInfo({}, {}, 8, "", "", 0, 0, None, None)
    first.parts.append(LandedPart("p", info, size=300, generation=1, offered=3000))
    core.settled(first)
    assert core.receive(batch(range(8, 60)), 0) == []
    assert only(core.receive(batch(range(60, 100)), 0)).reason == "bytes"


def test_each_date_has_its_own_bytes() -> None:
    core = landing(LandingLimits(3000, 10**9, 60))
    days = {offset: T0 + (offset % 4) * DAY_MS for offset in range(24)}
    assert core.receive(batch(range(24), timestamps=days), 0) == []


def test_the_record_that_would_open_one_date_too_many_closes_the_snapshot() -> None:
    core = landing()
    days = {offset: T0 - offset * DAY_MS for offset in range(MAX_DATES + 1)}
    sealed = only(core.receive(batch(range(MAX_DATES + 1), timestamps=days), 0))
    assert (len(sealed.days), sealed.records, sealed.reason) == (MAX_DATES, MAX_DATES, "dates")
    assert rows_in(only(core.drain("end"))) == [MAX_DATES]


def test_a_date_that_is_open_already_closes_nothing() -> None:
    core = landing()
    days = {offset: T0 - (offset % MAX_DATES) * DAY_MS for offset in range(2 * MAX_DATES)}
    assert core.receive(batch(range(2 * MAX_DATES), timestamps=days), 0) == []


def test_a_drained_snapshot_tells_the_reason_and_is_gone() -> None:
    core = landing()
    core.receive(batch([0]), 0)
    assert core.open_memory > 0
    assert only(core.drain("memory")).reason == "memory"
    assert core.drain("memory") == []
    assert core.open_memory == 0


def test_records_below_the_position_are_left_alone() -> None:
    core = landing(start=5)
    core.receive(batch(range(8)), 0)
    core.receive(batch(range(3, 9)), 0)
    snapshot = only(core.drain("end"))
    assert rows_in(snapshot) == [5, 6, 7, 8]
    assert (snapshot.spans[P0].start, snapshot.spans[P0].end) == (5, 9)


def test_gaps_in_the_log_are_claimed() -> None:
    core = landing()
    core.receive(batch([3, 7]), 0)
    assert only(core.drain("end")).claims() == {L0: Offsets([(0, 8)])}


def test_a_gap_between_two_snapshots_is_claimed_by_the_second() -> None:
    core = landing()
    core.receive(batch([3]), 0)
    core.drain("x")
    core.receive(batch([9]), 0)
    assert only(core.drain("end")).claims() == {L0: Offsets([(4, 10)])}


def test_partitions_not_owned_are_left_alone() -> None:
    core = landing()
    assert core.receive(batch([0], P1), 0) == []
    assert core.drain("end") == []


def test_what_settled_may_be_committed_with_its_topic_id() -> None:
    core = landing(sources=(P0, P1))
    core.receive(batch(range(3)), 0)
    core.receive(batch(range(7), P1), 0)
    metadata = commit_metadata(TOPIC_ID)
    assert core.settled(only(core.drain("end"))) == {P0: Position(3, metadata), P1: Position(7, metadata)}


def test_nothing_of_a_partition_that_went_is_committed() -> None:
    core = landing(sources=(P0, P1))
    core.receive(batch([0]), 0)
    core.receive(batch([0], P1), 0)
    snapshot = only(core.drain("revoked"))
    core.forget([P0])
    assert core.settled(snapshot).keys() == {P1}
    assert core.still_owned(snapshot) == [P1]


def test_nothing_is_committed_for_a_partition_that_went_and_came_back() -> None:
    """Somebody else may have moved its position in between."""
    core = landing()
    core.receive(batch([0]), 0)
    snapshot = only(core.drain("revoked"))
    core.forget([P0])
    core.assign(P0, TOPIC_ID, 0)
    assert core.settled(snapshot) == {}


def test_assigning_again_seals_what_was_open() -> None:
    core = landing()
    core.receive(batch(range(3)), 0)
    sealed = only(core.assign(P0, TOPIC_ID, 0))
    assert core.settled(sealed) == {}
    core.receive(batch(range(3)), 0)
    assert core.settled(only(core.drain("end"))).keys() == {P0}


def test_assigning_another_partition_seals_nothing() -> None:
    core = landing()
    core.receive(batch(range(3)), 0)
    assert core.assign(P1, TOPIC_ID, 0) == []


def test_a_letter_keeps_all_there_is_to_know_of_its_record() -> None:
    core = landing()
    core.receive(batch([4], values={4: BAD}, headers=[("trace", b"\xff")]), 0)
    [letter] = only(core.drain("end")).letters
    assert (letter.source.topic_id, letter.source.offset, letter.source.timestamp) == (TOPIC_ID, 4, T0 + 4)
    assert (letter.key, letter.value, letter.headers) == (b"4", BAD, [("trace", b"\xff")])
    assert (letter.day, letter.lane) == (DAY, L0)
    assert letter.contract is not None
    assert letter.contract.name == "orders.v1"


def test_memory_counts_all_that_a_record_holds() -> None:
    """Else a flood of records with fat headers, or keys, passes the budget by."""
    core = landing()
    core.receive(batch([0], headers=[("fat", b"x" * 100_000)]), 0)
    assert core.open_memory > 100_000
