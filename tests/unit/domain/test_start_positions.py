"""Where a partition is read from: every line of the table in `start_positions`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.domain.faults import FaultyStore
from tests.unit.domain.worlds import (
    DATASET,
    DATE,
    FORMATS,
    L1,
    NEXT_DATE,
    NOW,
    P0,
    P1,
    PREFIX,
    RAW,
    TOPIC_ID,
    claim,
    land,
    open_log,
    part_log,
    put_part,
    rows,
)

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import PositionLost, PrefixDamaged, RecordRefused, TopicRecreated
from streamlake.domain.model.dead_letters import LetterSource, dead_letter
from streamlake.domain.model.positions import Lane, Position, TopicPartition, Watermarks
from streamlake.domain.model.records import OutgoingRecord, RecordBatch
from streamlake.domain.model.snapshots import commit_metadata
from streamlake.domain.ports.event_log import LogReader, TopicSpec
from streamlake.domain.use_cases.start_positions import Gap, Start, StartPositions

OURS = commit_metadata(TOPIC_ID)
THEIRS = commit_metadata("another-id")


class World:
    """One dataset's log and raw zone, and the question."""

    def __init__(self, log: MemoryEventLog | None = None) -> None:
        self.log = log or open_log()
        self.store = MemoryObjectStore()
        self.starts = StartPositions(DATASET, self.store, FORMATS, self.log.admin(), self.log.reader())

    def decide(self, low: int, high: int, committed: Position | None = None) -> Start | Gap:
        """The answer for a log of `high` records."""
        there = self.log.admin().watermarks([P0])[P0].high
        more = [OutgoingRecord(RAW, None, b"{}", [], 0, P0.partition)] * (high - there)
        self.log.writer().append_and_wait(more)
        return self.starts.decide(P0, TOPIC_ID, Watermarks(low, high), committed)

    def claim(self, start: int, end: int, date: str = DATE) -> None:
        land(part_log(self.store, date), start, end)

    def letter(
        self, offset: int, *, partition: int = 0, topic_id: str = TOPIC_ID, replay_id: str | None = None
    ) -> None:
        source = LetterSource(RAW, topic_id, partition, offset, 0)
        fault = RecordRefused("null_value", "x")
        record = dead_letter(DATASET, "consumer", fault, None, None, [], NOW, source=source, replay_id=replay_id)
        self.log.writer().append_and_wait([record])


def gap(start: int, end: int, replaced: str | None = None) -> Gap:
    return Gap(DATASET, RAW, TOPIC_ID, 0, start, end, replaced)


# The commit names this topic id


@pytest.mark.parametrize("offset", [5, 7, 20])
def test_our_commit_within_the_log_is_the_start(offset: int) -> None:
    assert World().decide(5, 20, Position(offset, OURS)) == Start(offset, offset)


def test_our_commit_that_retention_overtook_is_a_gap() -> None:
    assert World().decide(5, 20, Position(3, OURS)) == gap(3, 5)


@pytest.mark.parametrize("metadata", [OURS, ""])
def test_a_commit_beyond_the_log_is_lost_and_no_gap_to_accept(metadata: str) -> None:
    with pytest.raises(PositionLost, match="21"):
        World().decide(5, 20, Position(21, metadata))


# The commit names another id


@pytest.mark.parametrize("offset", [0, 7, 99])
def test_a_commit_of_another_topic_id_is_a_gap_and_says_which(offset: int) -> None:
    found = World().decide(5, 20, Position(offset, THEIRS))
    assert found == gap(0, 5, "another-id")
    assert "another-id" in str(found)
    assert "--accept-gap" in str(found)


# No commit, or one without our metadata


@pytest.mark.parametrize("low", [0, 5])
def test_a_topic_never_seen_starts_at_its_low_watermark(low: int) -> None:
    assert World().decide(low, 20) == Start(low, low)


def test_a_lost_commit_reads_again_and_says_how_far() -> None:
    world = World()
    world.claim(0, 8)
    world.claim(8, 12, NEXT_DATE)
    assert world.decide(0, 20) == Start(0, 12)


def test_an_operators_reset_backwards_reads_again() -> None:
    world = World()
    world.claim(0, 12)
    assert world.decide(0, 20, Position(4)) == Start(4, 12)


def test_an_operators_reset_to_the_frontier_goes_on() -> None:
    world = World()
    world.claim(0, 12)
    assert world.decide(0, 20, Position(12)) == Start(12, 12)


def test_an_operators_reset_ahead_is_a_gap() -> None:
    world = World()
    world.claim(0, 12)
    assert world.decide(0, 20, Position(15)) == gap(12, 15)


def test_an_operators_reset_ahead_on_a_topic_never_seen_is_a_gap() -> None:
    assert World().decide(5, 20, Position(9)) == gap(5, 9)


def test_an_operators_reset_below_the_log_starts_with_the_log() -> None:
    world = World()
    world.claim(0, 12)
    assert world.decide(5, 20, Position(2)) == Start(5, 12)


def test_retention_that_overtook_an_expired_group_is_a_gap() -> None:
    """Landed up to 8, the group expired, and records up to 12 are gone: nobody ever landed [8, 12)."""
    world = World()
    world.claim(0, 8)
    assert world.decide(12, 20) == gap(8, 12)
    assert world.decide(12, 20, Position(3)) == gap(8, 12)


def test_retention_that_overtook_letters_is_a_gap_too() -> None:
    world = World()
    world.letter(0)
    world.letter(1)
    assert world.decide(12, 20) == gap(2, 12)


def test_retention_up_to_the_frontier_leaves_no_gap() -> None:
    world = World()
    world.claim(0, 8)
    assert world.decide(8, 20) == Start(8, 8)


def test_what_lies_ahead_of_a_hole_does_not_count() -> None:
    world = World()
    world.claim(0, 4)
    world.claim(8, 12)
    assert world.decide(0, 20) == Start(0, 4)
    assert world.decide(0, 20, Position(9)) == gap(4, 9)


def test_a_frontier_is_not_moved_by_half_a_snapshot() -> None:
    """[0, 6) was read; the even offsets landed on their date, the odd ones, of the next, did not."""
    world = World()
    part_log(world.store).land([rows([0, 2, 4])], claim((0, 6)), lambda part: None)
    assert world.decide(0, 20, Position(6)) == gap(1, 6)


def test_claims_of_others_do_not_count() -> None:
    world = World()
    log = part_log(world.store)
    others = claim((0, 5), lane=Lane("another-id", 0))
    log.land([rows(range(5), topic_id="another-id")], others, lambda part: None)
    log.land([rows(range(5), P1)], claim((0, 5), lane=L1), lambda part: None)
    land(log, 0, 5, "replay-1")
    assert world.decide(0, 20) == Start(0, 0)
    assert world.decide(0, 20, Position(5)) == gap(0, 5)


def test_letters_extend_the_frontier() -> None:
    world = World()
    world.claim(0, 4)
    for offset in (4, 5, 7):
        world.letter(offset)
    assert world.decide(0, 20, Position(6)) == Start(6, 6)
    assert world.decide(0, 20, Position(8)) == gap(6, 8)


def test_letters_of_others_do_not_count() -> None:
    world = World()
    world.letter(0, partition=1)
    world.letter(0, topic_id="another-id")
    world.letter(0, replay_id="r1")
    world.log.writer().append_and_wait([dead_letter(DATASET, "api", RecordRefused("x", "x"), None, None, [], NOW)])
    assert world.decide(0, 20, Position(1)) == gap(0, 1)


def test_a_missing_dead_letter_topic_has_no_letters() -> None:
    assert World(open_log(dlq=False)).decide(0, 20, Position(1)) == gap(0, 1)


def test_a_topic_made_anew_meanwhile_proves_nothing_of_the_one_asked_about() -> None:
    """The new topic holds nothing at these offsets, as if the old one had only markers there."""
    world = World()
    world.log.delete_topic(RAW)
    world.log.admin().create_topic(TopicSpec(RAW, 1, 1))
    with pytest.raises(TopicRecreated, match=r"streamlake\.orders\.raw\[0\]"):
        world.starts.decide(P0, TOPIC_ID, Watermarks(0, 20), Position(3))


class NotAsked(LogReader):
    """A reader that nobody should turn to."""

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        raise AssertionError(f"{source} was read")


@pytest.mark.parametrize("low", [0, 2, 4])
def test_letters_are_read_only_where_they_can_decide(low: int) -> None:
    """A long dead-letter topic must not slow down every rebalance."""
    world = World()
    world.claim(0, 4)
    starts = StartPositions(DATASET, world.store, FORMATS, world.log.admin(), NotAsked())
    assert starts.decide(P0, TOPIC_ID, Watermarks(low, 20), None) == Start(low, 4)
    with pytest.raises(AssertionError, match="was read"):
        starts.decide(P0, TOPIC_ID, Watermarks(5, 20), None)


def test_a_part_without_claims_is_no_reason_to_guess() -> None:
    world = World()
    put_part(world.store, PREFIX + "part-0001.json", {})
    with pytest.raises(PrefixDamaged):
        world.decide(0, 20)


def test_one_round_lists_the_raw_zone_once_also_where_that_fails() -> None:
    world = World()
    put_part(world.store, PREFIX + "part-0001.json", {})
    listed = FaultyStore(world.store)
    starts = StartPositions(DATASET, listed, FORMATS, world.log.admin(), world.log.reader()).begin()
    for _ in range(3):
        with pytest.raises(PrefixDamaged):
            starts.decide(P0, TOPIC_ID, Watermarks(0, 20), None)
    first = len(listed.calls)
    with pytest.raises(PrefixDamaged):
        starts.begin().decide(P0, TOPIC_ID, Watermarks(0, 20), None)
    assert len(listed.calls) == 2 * first


def test_a_partition_that_never_had_a_record_starts_without_a_look_at_the_raw_zone() -> None:
    listed = FaultyStore(MemoryObjectStore())
    log = open_log()
    starts = StartPositions(DATASET, listed, FORMATS, log.admin(), log.reader())
    assert starts.decide(P0, TOPIC_ID, Watermarks(0, 0), None) == Start(0, 0)
    assert not listed.calls


# Gaps that were accepted


def accept(world: World, found: Start | Gap) -> str:
    assert isinstance(found, Gap)
    return world.starts.accept(found, "me", "2026-11-21T10:33:00Z")


@pytest.mark.parametrize("committed", [Position(3, OURS), Position(9, THEIRS), Position(15), None])
def test_an_accepted_gap_is_gone_on_behind(committed: Position | None) -> None:
    world = World()
    world.claim(0, 2)
    found = world.decide(8, 20, committed)
    name = accept(world, found)
    assert isinstance(found, Gap)
    assert name.startswith(f"ops/gaps/{DATASET}/{TOPIC_ID}-0-")
    assert world.decide(8, 20, committed) == Start(found.end, found.end)


def test_accepting_again_changes_nothing() -> None:
    world = World()
    name = accept(world, gap(3, 5))
    before = world.store.read(name)
    assert world.starts.accept(gap(3, 5), "somebody else", "later") == name
    assert world.store.read(name) == before


def test_a_gap_accepted_is_accepted_no_further() -> None:
    world = World()
    accept(world, world.decide(5, 20, Position(3, OURS)))
    assert world.decide(6, 20, Position(3, OURS)) == gap(3, 6)


def test_a_gap_accepted_is_accepted_for_that_partition_and_topic_id_alone() -> None:
    world = World()
    world.starts.accept(Gap(DATASET, RAW, TOPIC_ID, 1, 0, 5, None), "me", "now")
    world.starts.accept(Gap(DATASET, RAW, TOPIC_ID, 10, 0, 5, None), "me", "now")
    world.starts.accept(Gap(DATASET, RAW, "another-id", 0, 0, 5, None), "me", "now")
    world.starts.accept(Gap(DATASET, RAW, f"{TOPIC_ID}-0", 7, 0, 5, None), "me", "now")
    assert world.decide(5, 20, Position(0, OURS)) == gap(0, 5)


def test_a_recreated_topic_accepted_once_is_not_accepted_for_the_next_recreation() -> None:
    world = World()
    accept(world, world.decide(0, 20, Position(9, commit_metadata("first"))))
    assert world.decide(0, 20, Position(9, commit_metadata("first"))) == Start(0, 0)
    assert world.decide(0, 20, Position(9, commit_metadata("second"))) == gap(0, 0, "second")


def test_an_accepted_gap_joins_what_landed_on_either_side() -> None:
    world = World()
    world.claim(0, 4)
    accept(world, world.decide(0, 20, Position(8)))
    world.claim(8, 12)
    assert world.decide(0, 20, Position(12)) == Start(12, 12)
