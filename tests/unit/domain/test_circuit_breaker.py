"""The circuit breaker goes on counting where whoever had the partition before has committed."""

from __future__ import annotations

import pytest
from tests.unit.domain.worlds import (
    BAD,
    DATASET,
    NOW,
    P0,
    TOPIC_ID,
    Catalog,
    batch,
    lettered_offsets,
    open_log,
    part_logs,
)

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.model.positions import Position
from streamlake.domain.model.snapshots import NOTHING_RECENT, commit_metadata, committed_recent, committed_topic_id
from streamlake.domain.use_cases.circuit_breaker import BreakerLimits, CircuitOpen
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots

DISPOSITIONS, SLICE = 100, 40


def live_and_die(log: MemoryEventLog, store: MemoryObjectStore, committed: Position, *, bad: bool = True) -> Position:
    """A process that reads a slice, lands and commits it, and is no more; returns what it committed."""
    core = LandRecords(DATASET, Catalog(), LandingLimits(10**9, 10**9, 60))
    landing = LandSnapshots(DATASET, log.admin(), log.writer(), part_logs(store), BreakerLimits(0.5, DISPOSITIONS))
    landing.breaker.begin(P0, committed_recent(committed.metadata))
    core.assign(P0, TOPIC_ID, committed.offset)
    offsets = range(committed.offset, committed.offset + SLICE)
    core.receive(batch(offsets, values=dict.fromkeys(offsets, BAD) if bad else {}), 0.0)
    [snapshot] = core.drain("shutdown")
    landing.land(snapshot, NOW)
    return core.settled(snapshot)[P0]


def test_a_process_that_dies_again_and_again_letters_no_more_than_one_that_lives() -> None:
    log, store, committed = open_log(), MemoryObjectStore(), Position(0)
    for _ in range(2):
        committed = live_and_die(log, store, committed)
    with pytest.raises(CircuitOpen, match="120 of the last 120"):
        live_and_die(log, store, committed)
    assert lettered_offsets(log) == [(0, offset) for offset in range(2 * SLICE)]
    assert committed.offset == 2 * SLICE


def test_a_flood_in_a_replay_trips_nothing_of_live_landing() -> None:
    """Both count their assignments from 1."""
    log, store = open_log(), MemoryObjectStore()
    landing = LandSnapshots(DATASET, log.admin(), log.writer(), part_logs(store), BreakerLimits(0.5, DISPOSITIONS))
    flood = range(2 * DISPOSITIONS)
    replay = LandRecords(DATASET, Catalog(), LandingLimits(10**9, 10**9, 60), "again")
    live = LandRecords(DATASET, Catalog(), LandingLimits(10**9, 10**9, 60))
    for core, values in ((replay, dict.fromkeys(flood, BAD)), (live, {})):
        core.assign(P0, TOPIC_ID, 0)
        core.receive(batch(flood, values=values), 0.0)
    [flooded], [sound] = replay.drain("end"), live.drain("age")
    with pytest.raises(CircuitOpen):
        landing.land(flooded, NOW)
    landing.land(sound, NOW)
    assert live.settled(sound)[P0].offset == len(flood)


def test_good_records_make_the_bad_ones_of_before_forgotten() -> None:
    log, store, committed = open_log(), MemoryObjectStore(), Position(0)
    committed = live_and_die(log, store, committed)
    for _ in range(12):
        committed = live_and_die(log, store, committed, bad=False)
    assert committed_recent(committed.metadata) == NOTHING_RECENT
    assert committed.metadata == commit_metadata(TOPIC_ID)


def test_the_count_is_committed_beside_the_topic_id() -> None:
    metadata = commit_metadata("abc", (3, 40))
    assert committed_recent(metadata) == (3, 40)
    assert committed_topic_id(metadata) == "abc"


@pytest.mark.parametrize("metadata", ["", "null", "[]", "nonsense", commit_metadata("abc")])
def test_of_a_commit_that_says_nothing_there_is_nothing_recent(metadata: str) -> None:
    assert committed_recent(metadata) == NOTHING_RECENT
