"""The part log when storage fails, lies late, or has other writers: each offset once, and the chain whole."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.domain.faults import Fault, FaultyStore, Unlisting
from tests.unit.domain.verdict import Verdict, bodies, check_chain, parts_in, verdict
from tests.unit.domain.worlds import DATE, L1, P1, PREFIX, claim, land, part_log, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import StoreUnavailable
from streamlake.domain.use_cases.part_log import PartLog

PART_CREATE = 3
"""In an empty prefix: 1 lists, 2 creates `_metadata.json`, 3 creates part 1."""


def land_until_done(log: PartLog, start: int, end: int) -> None:
    for _ in range(20):
        with suppress(StoreUnavailable):
            land(log, start, end)
            return
    pytest.fail("never done")


@pytest.mark.parametrize("fault", Fault)
def test_a_create_whose_outcome_is_unknown_is_tried_on_the_same_slot(fault: Fault) -> None:
    store = FaultyStore(MemoryObjectStore(), {PART_CREATE: fault})
    log = part_log(store)
    with pytest.raises(StoreUnavailable):
        land(log, 0, 3)
    land(log, 0, 3)
    assert store.writes.count(PREFIX + "part-0001.json") == 2
    assert bodies(store) == [[0, 1, 2]]


def test_a_lost_reply_lands_exactly_once_though_more_rows_came() -> None:
    store = FaultyStore(MemoryObjectStore(), {PART_CREATE: Fault.AFTER})
    log = part_log(store)
    with pytest.raises(StoreUnavailable):
        land(log, 0, 3)
    land(log, 0, 5)
    assert bodies(store) == [[0, 1, 2], [3, 4]]
    check_chain(store, DATE)


def test_a_create_that_arrives_late_finds_its_slot_taken() -> None:
    store = FaultyStore(MemoryObjectStore(), {PART_CREATE: Fault.LATE})
    log = part_log(store)
    with pytest.raises(StoreUnavailable):
        land(log, 0, 3)
    land(log, 0, 5)
    store.deliver()
    land(log, 5, 6)
    assert bodies(store) == [[0, 1, 2, 3, 4], [5]]
    check_chain(store, DATE)


def test_a_create_that_arrives_late_is_absorbed_by_whoever_comes_after() -> None:
    store = FaultyStore(MemoryObjectStore(), {PART_CREATE: Fault.LATE})
    log = part_log(store)
    with pytest.raises(StoreUnavailable):
        land(log, 0, 3)
    store.hook = lambda call, name: store.deliver()
    land(log, 0, 5)
    assert bodies(store) == [[0, 1, 2], [3, 4]]
    check_chain(store, DATE)


def test_a_late_create_of_a_dead_process_is_absorbed_too() -> None:
    store = FaultyStore(MemoryObjectStore(), {PART_CREATE: Fault.LATE})
    with pytest.raises(StoreUnavailable):
        land(part_log(store), 0, 3)
    heir = part_log(store)
    assert heir.covers(L1, 0) is False
    store.deliver()
    land(heir, 0, 5)
    assert bodies(store) == [[0, 1, 2], [3, 4]]
    check_chain(store, DATE)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("nth", range(1, 14))
def test_any_call_may_fail_and_all_is_landed_once(nth: int, fault: Fault) -> None:
    """Two writers in turn over the same offsets; the n-th call of the store fails."""
    store = FaultyStore(MemoryObjectStore(), {nth: fault})
    one, other = part_log(store), part_log(store)
    for start in range(0, 8, 2):
        land_until_done(one, start, start + 3)
        land_until_done(other, start, start + 4)
    store.deliver()
    land_until_done(part_log(store), 0, 12)
    assert verdict({(0, offset) for offset in range(12)}, store) == Verdict()
    check_chain(store, DATE)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_a_bootstrap_that_failed_on_the_way_begins_again(fault: Fault) -> None:
    """The look-up of a part that paging missed fails after part 1 was absorbed."""
    whole = MemoryObjectStore()
    writer = part_log(whole)
    for start in range(3):
        land(writer, start, start + 1)
    store = Unlisting(whole, {PREFIX + "part-0002.json"})
    store.script = {2: fault}
    log = part_log(store)
    with pytest.raises(StoreUnavailable):
        land(log, 0, 4)
    land(log, 0, 4)
    assert bodies(whole) == [[0], [1], [2], [3]]
    check_chain(whole, DATE)


SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=5)
FAULTS = st.dictionaries(st.integers(1, 25), st.sampled_from(Fault), max_size=4)


@settings(max_examples=200, deadline=None)
@given(SPANS, SPANS, st.lists(st.booleans(), max_size=25), FAULTS)
@example([(0, 1)], [(0, 1)], [True], {5: Fault.BEFORE, 7: Fault.BEFORE})
def test_two_writers_race_over_the_same_offsets_and_each_lands_once(
    mine: list[tuple[int, int]], theirs: list[tuple[int, int]], turns: list[bool], faults: dict[int, Fault]
) -> None:
    """Ahead of any call of mine to the store, the other writer may land something whole; calls of both may fail."""
    shared = MemoryObjectStore()
    store = FaultyStore(shared, faults)
    me, other = part_log(store), part_log(shared)
    left = iter(theirs)

    def interrupt(call: str, name: str) -> None:
        if turns and turns.pop() and (span := next(left, None)):
            land(other, span[0], sum(span))

    store.hook = interrupt
    for start, length in mine:
        land_until_done(me, start, start + length)
    store.deliver()
    for start, length in left:
        land(other, start, start + length)
    offered = {(0, offset) for start, length in [*mine, *theirs] for offset in range(start, start + length)}
    assert verdict(offered, shared) == Verdict()
    check_chain(shared, DATE)
    # Each finds a part of the other's in its way once, and once more where it then fails to read what that one claims.
    assert me.conflicts + other.conflicts <= len(parts_in(shared, DATE)) * 2 + len(faults)


def test_writers_of_different_partitions_share_a_prefix() -> None:
    store = MemoryObjectStore()
    one, other = part_log(store), part_log(store)
    for start in range(3):
        land(one, start, start + 1)
        other.land([rows([start], P1)], claim((start, start + 1), lane=L1), lambda part: None)
    assert verdict({(p, offset) for p in (0, 1) for offset in range(3)}, store) == Verdict()
    check_chain(store, DATE)
