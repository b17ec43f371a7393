"""Bounded replays, whole: planned, stored, run, run again, beside live parts, on both embedded logs and stores."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.unit.domain.worlds import DATE, NEXT_DATE, T0
from tests.unit.entrypoints.lake import BAD, DATASET, DLQ, RAW, STAMPS, Lake, places

from streamlake.adapters.event_log.sqlite.admin import SqliteAdmin
from streamlake.domain.errors import PartitionMissing, PositionLost, ReplayRefused
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.replay_plans import REPLAYS, ReplayRequest, backfill_id
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.use_cases.replay_records import (
    ABORTED,
    COMPLETE,
    FAILED,
    INTERRUPTED,
    PLANNED,
    Counts,
    RunRecord,
)
from streamlake.entrypoints.replay_flow import Pace, ReplayProgress


@pytest.fixture(params=["memory", "sqlite and file"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(tmp_path, memory=request.param == "memory")


@pytest.fixture
def durable(tmp_path: Path) -> Lake:
    return Lake(tmp_path, memory=False)


def run(lake: Lake, replay_id: str, *, accept_gap: bool = False, accept_dead_letters: bool = False) -> RunRecord:
    return lake.container.replay().run(
        replay_id, by="test", accept_gap=accept_gap, accept_dead_letters=accept_dead_letters
    )


def test_a_replay_lands_all_that_is_selected_once_and_leaves_live_parts_alone(lake: Lake) -> None:
    lake.put(0, STAMPS[:250])
    lake.put(1, STAMPS[:70])
    lake.land_live()
    before = lake.parts()
    lake.stored("again", Selection({0: (100, 230)}))
    outcome = run(lake, "again")
    assert (outcome.state, outcome.counts) == (COMPLETE, Counts(130, 130, 0))
    assert lake.rows("again") == places((0, range(100, 230)))
    assert lake.rows() == places((0, range(250)), (1, range(70)))
    assert lake.parts().items() >= before.items()


def test_the_same_id_again_adds_nothing_and_another_id_adds_a_full_set(lake: Lake) -> None:
    lake.put(0, STAMPS[:150], {7: BAD})
    lake.stored("one")
    run(lake, "one")
    parts = lake.parts()
    assert run(lake, "one").counts == Counts(150, 149, 1)
    assert lake.parts() == parts
    assert lake.letters("one") == [(0, 7)]
    lake.stored("two")
    run(lake, "two")
    assert lake.rows("two") == lake.rows("one")
    assert lake.letters("two") == [(0, 7)]
    assert lake.letters() == []


def test_a_bad_record_is_lettered_again_and_marked(lake: Lake) -> None:
    lake.put(0, STAMPS[:50], {3: BAD, 9: BAD})
    lake.land_live()
    lake.stored("r", Selection({0: (0, 5)}))
    assert run(lake, "r").counts == Counts(5, 4, 1)
    assert (lake.letters(), lake.letters("r")) == ([(0, 3), (0, 9)], [(0, 3)])


def test_what_an_attempt_has_left_the_next_one_adds(lake: Lake) -> None:
    """A part of this replay is there, and a letter, from an attempt that died: neither comes twice."""
    lake.put(0, STAMPS[:400], {20: BAD, 380: BAD})
    lake.stored("r")
    stop = threading.Event()

    def stop_at_the_first_part(progress: ReplayProgress) -> None:
        if progress.landed:
            stop.set()

    slow = Pace(records_per_s=100)
    stopped = lake.container.replay().run("r", by="test", tell=stop_at_the_first_part, pace=slow, stop=stop)
    before = set(lake.rows("r"))
    assert len(before) > 0
    assert (stopped.state, stopped.counts.landed, stopped.counts.lettered) == (
        INTERRUPTED, len(before), len(lake.letters("r")),
    )  # fmt: skip
    assert lake.container.replay().summary("r").runs[-1] == stopped
    outcome = run(lake, "r")
    assert outcome.counts == Counts(400, 398, 2)
    assert lake.rows("r") == places((0, [n for n in range(400) if n not in (20, 380)]))
    assert lake.letters("r") == [(0, 20), (0, 380)]


def test_an_attempt_that_is_stopped_says_so(durable: Lake) -> None:
    durable.put(0, STAMPS[:50])
    durable.stored("r")
    stop = threading.Event()
    stop.set()
    assert durable.container.replay().run("r", by="test", stop=stop).state == INTERRUPTED
    assert run(durable, "r").state == COMPLETE
    assert [each.state for each in durable.container.replay().summary("r").runs] == [INTERRUPTED, COMPLETE]


def test_a_date_touches_that_prefix_only(lake: Lake) -> None:
    lake.put(0, [T0, T0 + DAY_MS, T0 + 1, T0 - DAY_MS, T0 + DAY_MS + 1, T0 + 2])
    lake.stored("day", Selection(dates=(DATE,)))
    assert run(lake, "day").counts == Counts(3, 3, 0)
    assert lake.rows("day") == [(0, 0), (0, 2), (0, 5)]
    assert lake.dates("day") == {DATE}
    lake.stored("next", Selection(dates=(NEXT_DATE,)))
    run(lake, "next")
    assert lake.rows("next") == [(0, 1), (0, 4)]
    parts = lake.parts()
    run(lake, "day")
    assert lake.parts() == parts


def test_times_are_filtered_record_by_record(lake: Lake) -> None:
    lake.put(0, [T0 + 5, T0, T0 + 9, T0 + 1, T0 + 5])
    lake.put(1, [T0 + 2])
    lake.stored("r", Selection(since_ms=T0 + 1, until_ms=T0 + 6))
    run(lake, "r")
    assert lake.rows("r") == [(0, 0), (0, 3), (0, 4), (1, 0)]


def test_what_comes_after_the_plan_is_not_in_the_replay(lake: Lake) -> None:
    lake.put(0, STAMPS[:10])
    lake.stored("r", Selection(until_ms=T0 + 10**9))
    lake.put(0, STAMPS[:10])
    run(lake, "r")
    assert lake.rows("r") == places((0, range(10)))
    assert lake.stored("r", Selection(until_ms=T0 + 10**9)).partitions[0].until == 10, "a retry never plans again"


def test_the_same_id_for_something_else_is_refused(lake: Lake) -> None:
    lake.put(0, STAMPS[:10])
    lake.stored("r", Selection({0: (0, 5)}))
    with pytest.raises(ReplayRefused, match="already another one"):
        lake.stored("r", Selection({0: (0, 6)}))


def test_a_plan_writes_nothing(lake: Lake) -> None:
    lake.put(0, STAMPS[:10])
    lake.plan("r")
    assert list(lake.container.object_store().list("")) == []


def test_a_replay_that_was_never_planned_does_not_run(lake: Lake) -> None:
    with pytest.raises(ReplayRefused, match="no such replay"):
        run(lake, "r")


def test_a_replay_without_an_attempt_is_planned(lake: Lake) -> None:
    lake.put(0, STAMPS[:10])
    lake.stored("r")
    assert [each.state for each in lake.container.replay().summaries()] == [PLANNED]


def test_a_flood_of_bad_records_aborts_the_replay_and_letters_nothing(lake: Lake, tmp_path: Path) -> None:
    flooded = Lake(tmp_path / "flooded", memory=True, breaker_dispositions=50)
    flooded.put(0, STAMPS[:100], dict.fromkeys(range(80), BAD))
    flooded.stored("r")
    outcome = run(flooded, "r")
    assert (outcome.state, flooded.letters("r"), flooded.rows("r")) == (ABORTED, [], [])
    assert "80 of the last 100 records" in outcome.reason
    assert flooded.container.control().decisions(DATASET) == {}, "live landing is not halted by it"
    assert run(flooded, "r", accept_dead_letters=True).counts == Counts(100, 20, 80)


def test_a_recreated_topic_is_refused(durable: Lake) -> None:
    durable.put(0, STAMPS[:10])
    durable.stored("r")
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.delete_topic(RAW)
    durable.create_topics()
    durable.put(0, STAMPS[:10])
    outcome = run(durable, "r")
    assert (outcome.state, durable.parts()) == (FAILED, {})
    assert outcome.reason.startswith("TopicRecreated")


def test_offsets_that_retention_has_taken_are_an_error_unless_accepted(durable: Lake) -> None:
    durable.put(0, STAMPS[:10])
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.trim(TopicPartition(RAW, 0), 4)
    with pytest.raises(PositionLost, match=r"partition 0 \[2, 4\)"):
        durable.stored("r", Selection({0: (2, 8)}))
    plan = durable.stored("r", Selection({0: (2, 8)}), accept_gap=True)
    assert plan.lost == {0: (2, 4)}
    assert run(durable, "r").state == COMPLETE
    assert durable.rows("r") == places((0, range(4, 8)))


def test_what_retention_takes_after_the_plan_is_an_error_unless_accepted(durable: Lake) -> None:
    durable.put(0, STAMPS[:10])
    durable.stored("r")
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.trim(TopicPartition(RAW, 0), 4)
    outcome = run(durable, "r")
    assert (outcome.state, durable.rows("r")) == (FAILED, [])
    assert "partition 0 [0, 4)" in outcome.reason
    accepted = run(durable, "r", accept_gap=True)
    assert (accepted.state, accepted.lost) == (COMPLETE, {"0": (0, 4)})
    assert durable.rows("r") == places((0, range(4, 10)))


def test_a_complete_replay_stays_complete_when_retention_goes_on(durable: Lake) -> None:
    durable.put(0, [T0, T0 + DAY_MS, T0 + 1])
    durable.stored("r", Selection(dates=(DATE,)))
    run(durable, "r")
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.trim(TopicPartition(RAW, 0), 3)
    assert run(durable, "r").state == COMPLETE


def test_rows_of_the_date_that_are_no_longer_in_the_log_are_lost(durable: Lake) -> None:
    durable.put(0, STAMPS[:10])
    durable.land_live()
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.trim(TopicPartition(RAW, 0), 4)
    assert durable.plan("r", Selection(dates=(DATE,))).lost == {0: (0, 4)}
    assert durable.plan("s", Selection(dates=(NEXT_DATE,))).lost == {}


def test_a_plan_says_how_much_there_is_and_what_has_landed(lake: Lake) -> None:
    lake.put(0, [*STAMPS[:60], *[stamp + DAY_MS for stamp in STAMPS[:40]]])
    lake.land_live()
    lake.put(0, STAMPS[:5])
    plan = lake.plan("r", Selection(dates=(DATE,)))
    first, second = plan.partitions
    assert (first.start, first.until, first.records, first.landed_live) == (0, 105, 65, 60)
    assert (second.records, second.landed_live, second.bytes) == (0, 0, 0)
    size = sum(part.stored.size for part in lake.container.raw_zone(DATASET).parts([DATE]))
    assert first.bytes == round(65 * size / 60)
    assert plan.parts == 1


def test_a_partition_that_is_not_there_is_refused(lake: Lake) -> None:
    with pytest.raises(PartitionMissing, match="there is no partition 2"):
        lake.plan("r", Selection({2: (None, None)}))


def test_several_dates_are_planned_at_once(lake: Lake) -> None:
    lake.put(0, [T0, T0 + DAY_MS])
    requests = [
        ReplayRequest(backfill_id(DATASET, date), DATASET, Selection(dates=(date,))) for date in (DATE, NEXT_DATE)
    ]
    plans = lake.container.replay().plan(DATASET, requests, by="test")
    for plan in plans:
        lake.container.replay().store(plan)
        run(lake, plan.replay_id)
    assert [lake.rows(plan.replay_id) for plan in plans] == [[(0, 0)], [(0, 1)]]


def test_an_id_for_a_long_name_is_cut_and_still_its_own() -> None:
    first, second = (backfill_id("a" * 62 + end, DATE) for end in "bc")
    assert len(first) == 63
    assert first != second


def test_two_attempts_at_once_land_each_record_once(durable: Lake) -> None:
    durable.put(0, STAMPS[:600], dict.fromkeys(range(0, 600, 50), BAD))
    durable.stored("r")
    outcomes: list[RunRecord] = []
    others = [threading.Thread(target=lambda: outcomes.append(run(durable, "r"))) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert durable.rows("r") == places((0, [n for n in range(600) if n % 50]))
    assert set(durable.letters("r")) == {(0, n) for n in range(0, 600, 50)}
    assert {each.state for each in outcomes} == {COMPLETE}


def test_a_replay_to_a_missing_letter_topic_fails_and_can_be_resumed(durable: Lake) -> None:
    durable.put(0, STAMPS[:20], {3: BAD})
    durable.stored("r")
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.delete_topic(DLQ)
    outcome = run(durable, "r")
    assert outcome.state == FAILED
    assert outcome.reason.startswith("TopicMissing")
    durable.create_topics()
    assert run(durable, "r").counts == Counts(20, 19, 1)


def test_a_complete_replay_whose_letters_are_gone_fails_on_record_and_lands_nothing_again(durable: Lake) -> None:
    durable.put(0, STAMPS[:20], {3: BAD})
    durable.stored("r")
    run(durable, "r")
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.delete_topic(DLQ)
    outcome = run(durable, "r")
    assert (outcome.state, outcome.reason.partition(":")[0]) == (FAILED, "TopicMissing")
    assert durable.container.replay().summary("r").runs[-1] == outcome
    durable.create_topics()
    again = run(durable, "r")
    assert (again.state, again.counts) == (FAILED, Counts(20, 19, 0))
    assert "another id" in again.reason
    durable.stored("s")
    assert (run(durable, "s").counts, durable.letters("s")) == (Counts(20, 19, 1), [(0, 3)])
    assert durable.rows("r") == durable.rows("s")


def test_it_reads_no_faster_than_told(lake: Lake) -> None:
    lake.put(0, STAMPS[:100])
    lake.stored("r")
    clock = lake.container.clock()
    began = clock.monotonic()
    assert lake.container.replay().run("r", by="test", pace=Pace(records_per_s=200)).state == COMPLETE
    assert clock.monotonic() - began >= 0.4


def test_progress_ends_at_the_whole(lake: Lake) -> None:
    lake.put(0, STAMPS[:120])
    lake.stored("r")
    told: list[ReplayProgress] = []
    lake.container.replay().run("r", by="test", tell=told.append)
    assert (told[-1].offsets, told[-1].of_offsets, told[-1].landed) == (120, 120, 120)


def test_who_when_and_what_became_of_it_are_objects(lake: Lake) -> None:
    lake.put(0, STAMPS[:5])
    lake.stored("r")
    run(lake, "r")
    names = [each.name for each in lake.container.object_store().list(REPLAYS)]
    assert names == [f"{REPLAYS}r.json", f"{REPLAYS}r/run-0001.json"]
    told = lake.container.replay().summary("r").to_json()
    assert told["plan"]["by"] == told["runs"][0]["by"] == "test"
    assert told["runs"][0]["counts"] == {"selected": 5, "landed": 5, "lettered": 0}


def test_an_empty_selection_is_complete_at_once(lake: Lake) -> None:
    lake.put(0, STAMPS[:5])
    lake.stored("r", Selection(since_ms=T0 + DAY_MS))
    assert run(lake, "r").counts == Counts(0, 0, 0)


def test_an_attempt_that_fails_records_what_has_landed(durable: Lake) -> None:
    """The topic goes away after an attempt that was stopped: the next one fails, and what has landed by then counts."""
    durable.put(0, STAMPS[:400])
    durable.stored("r")
    stop = threading.Event()
    durable.container.replay().run(
        "r", by="test", tell=lambda now: stop.set() if now.landed else None, pace=Pace(records_per_s=100), stop=stop
    )
    there = len(durable.rows("r"))
    assert there > 0
    assert isinstance(durable.admin, SqliteAdmin)
    durable.admin.delete_topic(RAW)
    outcome = run(durable, "r")
    assert (outcome.state, outcome.counts.landed) == (FAILED, there)
