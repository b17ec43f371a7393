"""Rewound partitions land for their replay, and go on live where they were."""

from __future__ import annotations

import pytest
from tests.unit.domain.worlds import DATASET, NOW, P0, P1, T0, TOPIC_ID, Catalog, batch, open_log, part_logs

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import ReplayRefused
from streamlake.domain.model.positions import Position
from streamlake.domain.model.replay_plans import BOUNDED, REWIND, PartitionPlan, ReplayPlan, ReplayRequest
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.snapshots import (
    ReplayBlock,
    Snapshot,
    commit_metadata,
    committed_replay,
    committed_topic_id,
)
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.domain.use_cases.rewinding import QUIET_S, Rewinding

LIMITS = LandingLimits(10**7, 10, 60)
BLOCK = ReplayBlock("again", 20, 100)
LIVE = Position(100, commit_metadata(TOPIC_ID))


def plan(selection: Selection = Selection(), mode: str = REWIND) -> ReplayPlan:  # noqa: B008 - frozen
    request = ReplayRequest("again", DATASET, selection, mode)
    return ReplayPlan(request, TOPIC_ID, (PartitionPlan(0, 5, 20),), 1, False, "me", "now")


@pytest.fixture
def core() -> Rewinding:
    return Rewinding(
        LandRecords(DATASET, Catalog(), LIMITS), lambda replay_id: LandRecords(DATASET, Catalog(), LIMITS, replay_id)
    )


def offsets(snapshots: list[Snapshot]) -> list[int]:
    return [o for s in snapshots for day in s.days.values() for rows in day.values() for o in rows.offsets]


def test_its_records_go_to_the_replay_and_every_commit_carries_it(core: Rewinding) -> None:
    core.rewind(P0, plan(), BLOCK, 5, 0.0)
    core.assign(P1, TOPIC_ID, 0)
    sealed = [*core.receive(batch(range(5, 16)), 0.0), *core.receive(batch(range(3), P1), 0.0)]
    [full] = sealed
    assert (full.replay_id, offsets([full])) == ("again", list(range(5, 15)))
    assert core.settled(full) == {P0: Position(15, commit_metadata(TOPIC_ID, replay=BLOCK))}
    assert {s.replay_id: offsets([s]) for s in core.drain("test")} == {None: [0, 1, 2], "again": [15]}
    assert core.ended() == {}


def test_at_the_end_of_its_range_and_landed_it_goes_on_live(core: Rewinding) -> None:
    core.rewind(P0, plan(), BLOCK, 15, 0.0)
    [sealed] = core.receive(batch(range(15, 30)), 0.0)
    assert offsets([sealed]) == list(range(15, 20)), "what lies behind the range is not the replay's"
    assert core.ended() == {}, "not before it has landed"
    core.settled(sealed)
    assert core.ended() == {P0: LIVE}
    core.assign(P0, TOPIC_ID, 100)
    assert core.ended() == {}
    core.receive(batch(range(100, 103)), 0.0)
    assert [(s.replay_id, offsets([s])) for s in core.drain("test")] == [(None, [100, 101, 102])]


def test_what_is_not_selected_is_passed_over(core: Rewinding) -> None:
    """The last records of the range are of other times: the position counts, not the last record landed."""
    core.rewind(P0, plan(Selection(since_ms=T0, until_ms=T0 + 8)), BLOCK, 5, 0.0)
    [sealed] = core.receive(batch(range(5, 20)), 0.0)
    assert offsets([sealed]) == [5, 6, 7]
    core.settled(sealed)
    assert core.ended() == {P0: LIVE}


def test_a_range_that_ends_in_markers_ends_by_its_position(core: Rewinding) -> None:
    core.rewind(P0, plan(), BLOCK, 5, 0.0)
    [first] = core.receive(batch(range(5, 18)), 0.0)
    assert core.quiet(QUIET_S / 2) == []
    assert core.quiet(QUIET_S) == [(P0, 18, 20)]
    assert core.quiet(QUIET_S) == [], "asked once for each silence"
    assert core.ended() == {}
    for snapshot in [first, *core.reached(P0, 20)]:
        core.settled(snapshot)
    assert core.ended() == {P0: LIVE}


def test_a_start_at_or_behind_the_end_ends_at_once(core: Rewinding) -> None:
    core.rewind(P0, plan(), BLOCK, 20, 0.0)
    assert core.ended() == {P0: LIVE}


def test_one_taken_away_leaves_nothing_behind(core: Rewinding) -> None:
    core.rewind(P0, plan(), BLOCK, 5, 0.0)
    [sealed] = core.receive(batch(range(5, 16)), 0.0)
    core.forget([P0])
    assert core.drain("test") == []
    assert core.settled(sealed) == {}
    assert (core.rewound, core.still_owned(sealed), core.open_memory) == ({}, [], 0)


@pytest.mark.parametrize(
    ("wrong", "block"),
    [(plan(mode=BOUNDED), BLOCK), (plan(), ReplayBlock("again", 21, 100))],
    ids=["of another mode", "beyond its plan"],
)
def test_a_block_that_is_not_its_plan_is_refused(core: Rewinding, wrong: ReplayPlan, block: ReplayBlock) -> None:
    with pytest.raises(ReplayRefused, match="that is not its plan"):
        core.rewind(P0, wrong, block, 5, 0.0)


def test_its_parts_are_the_replays_and_live_ones_stay_as_they_are(core: Rewinding) -> None:
    store = MemoryObjectStore()
    log = open_log()
    landing = LandSnapshots(DATASET, log.admin(), log.writer(), part_logs(store))
    core.assign(P0, TOPIC_ID, 0)
    live = [*core.receive(batch(range(20)), 0.0), *core.drain("test")]
    core.rewind(P0, plan(), BLOCK, 5, 0.0)
    for snapshot in [*live, *core.receive(batch(range(5, 20)), 0.0), *core.drain("test")]:
        landing.land(snapshot, NOW)
    parts = {part.info.replay_id: part.info.records for s in live for part in s.parts}
    assert parts == {None: 10}
    kinds = [info.metadata["kind"] for info in store.list("raw/") if "part-" in info.name]
    assert kinds == ["live", "live", "replay", "replay"]


def test_a_commit_says_what_it_is_of() -> None:
    assert committed_replay(commit_metadata("id", replay=BLOCK)) == BLOCK
    assert committed_topic_id(commit_metadata("id", replay=BLOCK)) == "id"
    assert committed_replay(commit_metadata("id")) is None
    assert committed_replay("somebody else's") is None
    with pytest.raises(ValueError, match="id, until and resume"):
        committed_replay('{"v":1,"topic_id":"id","replay":{"id":"r"}}')
