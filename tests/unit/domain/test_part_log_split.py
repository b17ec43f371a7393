"""A part too large is split, and neither half claims the other's rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.faults import Fault, FaultyStore
from tests.unit.domain.verdict import Verdict, bodies, check_chain, claimed_in, parts_in, verdict
from tests.unit.domain.worlds import DATE, L0, L1, P0, P1, TOPIC_ID, claim, part_log, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import StoreUnavailable
from streamlake.domain.model.parts import MAX_METADATA_BYTES, Claims, metadata_bytes
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.snapshots import LandedPart
from streamlake.domain.use_cases.part_log import PartLog, runs, split

OFFSETS = st.lists(st.integers(0, 30), unique=True, max_size=10).map(sorted)
SMALL = 700
"""Room for about two rows."""


def land_all(log: PartLog, parts: list[LandedPart] | None = None) -> None:
    both: Claims = {**claim((0, 20)), **claim((0, 6), lane=L1)}
    log.land([rows(range(4, 10)), rows(range(6), P1)], both, (parts if parts is not None else []).append)


def all_places() -> set[tuple[int, int]]:
    return {(0, offset) for offset in range(4, 10)} | {(1, offset) for offset in range(6)}


def members(offsets: Offsets) -> set[int]:
    return {offset for start, end in offsets for offset in range(start, end)}


@given(st.lists(OFFSETS, min_size=1, max_size=4).filter(lambda lanes: sum(map(len, lanes)) > 1))
def test_halves_share_rows_and_claims_without_overlap_or_gap(lanes: list[list[int]]) -> None:
    chunks = [rows(offsets, TopicPartition("t", at)) for at, offsets in enumerate(lanes) if offsets]
    claims = {chunk.lane: Offsets([(0, 40)]) for chunk in chunks}
    halves = split(chunks, claims)
    for half, claimed in halves:
        assert half
        assert claimed.keys() == {chunk.lane for chunk in half}
        assert all(offset in claimed[chunk.lane] for chunk in half for offset in chunk.offsets)
    (first, before), (second, after) = halves
    for lane in claims:
        whole, one, other = claims[lane], before.get(lane, Offsets()), after.get(lane, Offsets())
        assert members(one) | members(other) == members(whole)
        assert not members(one) & members(other)
    together = [(chunk.lane, offset) for chunk in [*first, *second] for offset in chunk.offsets]
    assert together == [(chunk.lane, offset) for chunk in chunks for offset in chunk.offsets]


@given(OFFSETS.filter(bool))
def test_runs_are_the_offsets(offsets: list[int]) -> None:
    assert members(Offsets(runs(offsets))) == set(offsets)
    assert list(runs(offsets)) == list(Offsets.of(offsets))


def test_parts_stay_below_the_limit_and_together_claim_all() -> None:
    store = MemoryObjectStore()
    parts: list[LandedPart] = []
    land_all(part_log(store, max_part_bytes=SMALL), parts)
    assert len(parts) > 3
    assert all(part.size <= SMALL for part in parts)
    assert [part.name for part in parts] == [info.name for info, _ in parts_in(store, DATE)]
    assert verdict(all_places(), store) == Verdict()
    assert claimed_in(store, DATE, L0) == Offsets([(0, 20)])
    assert claimed_in(store, DATE, L1) == Offsets([(0, 6)])
    check_chain(store, DATE)


def test_rows_keep_their_order_across_the_halves() -> None:
    store = MemoryObjectStore()
    log = part_log(store, max_part_bytes=SMALL)
    log.land([rows(range(9))], claim((0, 9)), lambda part: None)
    assert [offset for body in bodies(store) for offset in body] == list(range(9))


def test_a_row_that_is_too_large_alone_lands_alone() -> None:
    store = MemoryObjectStore()
    large = rows([1], payload=b'"' + b"x" * 5000 + b'"')
    part_log(store, max_part_bytes=SMALL).land([rows([0]), large, rows([2])], claim((0, 3)), lambda part: None)
    assert [body for body in bodies(store) if 1 in body] == [[1]]


def test_claims_that_do_not_fit_the_metadata_split_the_part() -> None:
    store = MemoryObjectStore()
    sources = [TopicPartition("t", number) for number in range(300)]
    claims = {Lane(TOPIC_ID, number): Offsets([(10**12, 10**12 + 10**6)]) for number in range(300)}
    part_log(store).land([rows([10**12 + 5], source) for source in sources], claims, lambda part: None)
    parts = parts_in(store, DATE)
    assert len(parts) > 1
    assert all(metadata_bytes(info.metadata) <= MAX_METADATA_BYTES for info, _ in parts)
    for lane, offsets in claims.items():
        assert claimed_in(store, DATE, lane) == offsets
    check_chain(store, DATE)


def test_a_long_list_of_rows_alone_splits_nothing() -> None:
    store = MemoryObjectStore()
    part_log(store).land([rows(range(0, 2000, 2))], claim((0, 2000)), lambda part: None)
    [(_, part)] = parts_in(store, DATE)
    assert part.rows is None
    check_chain(store, DATE)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("nth", range(3, 11))
def test_after_a_crash_between_the_halves_another_process_lands_exactly_the_rest(nth: int, fault: Fault) -> None:
    store = FaultyStore(MemoryObjectStore(), {nth: fault})
    with pytest.raises(StoreUnavailable):
        land_all(part_log(store, max_part_bytes=SMALL))
    land_all(part_log(store, max_part_bytes=2 * SMALL))
    store.deliver()
    land_all(part_log(store))
    assert verdict(all_places(), store) == Verdict()
    check_chain(store, DATE)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8), st.integers(400, 3000), st.integers(400, 3000))
def test_writers_that_split_differently_race_and_land_once(turns: list[int], mine: int, theirs: int) -> None:
    shared = MemoryObjectStore()
    store = FaultyStore(shared)
    other = part_log(shared, max_part_bytes=theirs)
    calls = iter(turns)

    def interrupt(call: str, name: str) -> None:
        at = next(calls, 0)
        if call == "create" and at:
            other.land([rows(range(at, at + 3), P0)], claim((at, at + 3)), lambda part: None)

    store.hook = interrupt
    land_all(part_log(store, max_part_bytes=mine))
    land_all(other)
    found = verdict(all_places(), shared)
    assert (found.lost, found.duplicated) == ([], [])
    check_chain(shared, DATE)
