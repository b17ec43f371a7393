"""The part log, one writer at a time: what it creates, absorbs, drops, and refuses to go on with."""

from __future__ import annotations

import json

from tests.unit.domain.faults import FaultyStore
from tests.unit.domain.verdict import bodies, check_chain, claimed_in, parts_in, verdict
from tests.unit.domain.worlds import DATE, L0, L1, P1, PREFIX, claim, land, part_log, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.use_cases.part_log import PartLogs


def test_the_first_part_settles_the_format_and_is_number_one() -> None:
    store = FaultyStore(MemoryObjectStore())
    [part] = land(part_log(store), 0, 3)
    assert store.writes == [PREFIX + "_metadata.json", PREFIX + "part-0001.json"]
    assert part.name == PREFIX + "part-0001.json"
    assert (part.info.records, part.info.claims, part.info.previous) == (3, claim((0, 3)), None)
    assert part.size == store.describe(part.name).size


def test_parts_follow_on_and_name_the_one_before() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    for start in range(0, 9, 3):
        land(log, start, start + 3)
    assert bodies(store) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    check_chain(store, DATE)


def test_landing_again_adds_nothing_and_an_empty_part_never_comes_to_be() -> None:
    store = FaultyStore(MemoryObjectStore())
    log = part_log(store)
    land(log, 0, 3)
    before = len(store.writes)
    assert land(log, 0, 3) == land(log, 1, 2) == []
    assert land(part_log(store), 0, 3) == []
    assert len(store.writes) == before


def test_what_is_covered_is_dropped_row_by_row() -> None:
    store = MemoryObjectStore()
    land(part_log(store), 2, 4)
    [part] = land(part_log(store), 0, 6)
    assert bodies(store) == [[2, 3], [0, 1, 4, 5]]
    assert part.info.rows == {L0: Offsets([(0, 2), (4, 6)])}
    check_chain(store, DATE)


def test_a_claim_covers_offsets_without_a_row_too() -> None:
    """They were gaps, dead letters, or of another date: whoever reads them again lands nothing."""
    store = MemoryObjectStore()
    part_log(store).land([rows([0, 4])], claim((0, 5)), lambda part: None)
    assert land(part_log(store), 0, 5) == []


def test_a_taken_slot_is_absorbed_and_what_it_covers_is_dropped() -> None:
    store = MemoryObjectStore()
    one, other = part_log(store), part_log(store)
    land(one, 0, 1)
    land(other, 1, 2)
    land(one, 2, 5)
    land(other, 2, 7)
    assert bodies(store) == [[0], [1], [2, 3, 4], [5, 6]]
    assert (one.conflicts, other.conflicts) == (1, 1)
    check_chain(store, DATE)


def test_a_loser_whose_rows_are_all_covered_lands_nothing() -> None:
    store = MemoryObjectStore()
    one, other = part_log(store), part_log(store)
    assert not other.covers(L0, 0)
    land(one, 0, 3)
    assert land(other, 0, 3) == []
    assert bodies(store) == [[0, 1, 2]]


def test_covered_lanes_are_told_apart_by_topic_id_and_partition() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    land(log, 0, 2)
    log.land([rows(range(2), P1)], claim((0, 2), lane=L1), lambda part: None)
    other = Lane("recreated", 0)
    log.land([rows(range(2), topic_id="recreated")], claim((0, 2), lane=other), lambda part: None)
    assert len(parts_in(store, DATE)) == 3


def test_a_claim_of_a_lane_without_a_row_is_not_made() -> None:
    store = MemoryObjectStore()
    both = {**claim((0, 9)), **claim((0, 9), lane=L1)}
    part_log(store).land([rows([3])], both, lambda part: None)
    assert claimed_in(store, DATE, L1) == Offsets()
    assert claimed_in(store, DATE, L0) == Offsets([(0, 9)])


def test_covers_tells_what_is_claimed_and_creates_nothing() -> None:
    store = FaultyStore(MemoryObjectStore())
    assert not part_log(store).covers(L0, 1)
    assert store.writes == []
    land(part_log(store), 1, 3)
    written = len(store.writes)
    fresh = part_log(store)
    assert [fresh.covers(L0, offset) for offset in range(4)] == [False, True, True, False]
    assert not fresh.covers(L1, 1)
    assert len(store.writes) == written


def test_a_prefix_is_listed_once_per_process() -> None:
    store = FaultyStore(MemoryObjectStore())
    log = part_log(store)
    for start in range(3):
        log.covers(L0, start)
        land(log, start, start + 1)
    assert [call for call, _ in store.calls].count("list") == 1


def test_replays_and_live_landing_are_covered_apart() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    for replay_id in (None, "r1", "r2", None, "r1", "r2"):
        land(log, 0, 3, replay_id)
    assert [part.replay_id for _, part in parts_in(store, DATE)] == [None, "r1", "r2"]
    assert part_log(store).covers(L0, 0, "r1")
    assert not part_log(store).covers(L0, 0, "r3")
    check_chain(store, DATE)
    assert verdict({(0, 0), (0, 1), (0, 2)}, store, replay_id="r2") == verdict([], MemoryObjectStore())


def test_rows_of_a_replay_are_labelled() -> None:
    store = MemoryObjectStore()
    land(part_log(store), 0, 1, "r1")
    assert json.loads(store.read(PREFIX + "part-0001.json")[1])["replay_id"] == "r1"


def test_part_logs_beyond_the_limit_are_forgotten_and_found_again() -> None:
    store = MemoryObjectStore()
    logs = PartLogs(lambda date: part_log(store, date))
    dates = [f"2026-01-{day:02d}-{hour:02d}" for day in range(1, 28) for hour in range(10)]
    first = logs.of(dates[0])
    for date in dates:
        logs.of(date)
    assert len(list(logs)) == 128
    assert logs.of(dates[0]) is not first


def test_a_part_log_whose_roll_up_is_stale_is_not_forgotten() -> None:
    store = MemoryObjectStore()
    logs = PartLogs(lambda date: part_log(store, date))
    land(logs.of(DATE), 0, 1)
    for day in range(300):
        logs.of(str(day))
    assert DATE in {log.date for log in logs}


def test_where_every_roll_up_is_stale_no_part_log_is_forgotten() -> None:
    store = MemoryObjectStore()
    logs = PartLogs(lambda date: part_log(store, date))
    for day in range(130):
        land(logs.of(str(day)), 0, 1)
    assert len(list(logs)) == 130


def test_where_no_roll_up_can_be_written_memory_is_bounded_all_the_same() -> None:
    store = MemoryObjectStore()
    logs = PartLogs(lambda date: part_log(store, date), max_prefixes=3)
    for day in range(20):
        land(logs.of(str(day)), 0, 1)
    assert [log.date for log in logs] == [str(day) for day in range(14, 20)]
