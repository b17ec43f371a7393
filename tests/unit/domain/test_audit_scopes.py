"""What an audit judges: a date, a partition, a replay; beside live landing; and what it says where it cannot judge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.domain.audited import GROUP, AuditedWorld, found, kinds, sound_world, the
from tests.unit.domain.worlds import DATASET, DATE, NEXT_DATE, P0, PREFIX, T0, claim, part_log, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import PartitionMissing, PositionLost, ReplayRefused, TopicRecreated
from streamlake.domain.model.audit_report import MAX_FINDINGS, MAX_RANGES, Ranges
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.replay_plans import PartitionPlan, ReplayPlan, ReplayRequest
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.snapshots import commit_metadata
from streamlake.domain.ports.event_log import LogReader
from streamlake.domain.ports.object_store import ObjectInfo
from streamlake.domain.use_cases.replay_records import ReplayRecords
from streamlake.domain.use_cases.start_positions import Gap, StartPositions


@pytest.fixture
def world() -> AuditedWorld:
    return sound_world()


# Beside live landing


class _BusyStore(MemoryObjectStore):
    """A bucket in which a consumer lands more while somebody lists it."""

    def __init__(self, world: AuditedWorld) -> None:
        super().__init__()
        self._objects, self._names, self._generations = (
            world.store._objects,
            world.store._names,
            world.store._generations,
        )
        self._world = world
        self.busy = False

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        for number, info in enumerate(super().list(prefix, start=start)):
            if self.busy and number in (1, 4):
                self.busy, before = False, self.busy
                self._world.produce(9, P0, bad=(2,), next_day=(4,))
                self._world.land()
                self.busy = before
            yield info


def test_what_lands_and_is_committed_while_the_audit_looks_is_no_finding(world: AuditedWorld) -> None:
    """Committed is read first: whatever is committed later is not judged yet."""
    store = _BusyStore(world)
    world.store = store
    store.busy = True
    report = world.audit(deep=True)
    store.busy = False
    assert report.findings == []
    assert [each.judged_to for each in report.partitions] == [30, 22]
    assert world.admin.group_offsets(GROUP, [P0])[P0].offset > 30, "it did land meanwhile"
    assert world.audit(deep=True).verdict == "clean"


def test_what_is_landed_and_not_committed_is_not_judged(world: AuditedWorld) -> None:
    world.produce(8, P0)
    world.land(commit=False)
    report = world.audit(deep=True)
    assert (report.verdict, report.partitions[0].judged_to, report.partitions[0].log_end) == ("clean", 30, 38)


def test_a_topic_made_anew_meanwhile_is_an_error_and_no_verdict(world: AuditedWorld) -> None:
    class _Recreating(LogReader):
        def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
            world.recreate_topic()
            return iter(())

    with pytest.raises(TopicRecreated):
        world.audit(reader=_Recreating())


def test_retention_that_overtakes_a_look_leaves_what_is_gone_unproven(world: AuditedWorld) -> None:
    victim = f"{PREFIX}part-0001.json"
    world.delete(victim)
    reader = world.log.reader()
    trimmed: list[TopicPartition] = []

    class _Trimming(LogReader):
        def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
            if source == P0 and not trimmed:
                trimmed.append(source)
                world.log.trim(P0, 4)
                raise PositionLost("overtaken")
            return reader.read(source, start, until)

    report = world.audit(reader=_Trimming())
    assert report.partitions[0].unproven.ranges == [(0, 3)]
    assert found(report, "missing")[1] == [(4, 5)]


def test_where_nothing_is_committed_the_report_says_that_nothing_was_judged() -> None:
    world = AuditedWorld()
    world.produce(4, P0)
    report = world.audit()
    assert (report.verdict, [note.kind for note in report.notes]) == ("unproven", ["nothing_committed"])
    assert report.notes[0].partition == 0


# A date, a partition


def test_a_partition_that_is_not_there_is_an_error_and_no_verdict(world: AuditedWorld) -> None:
    with pytest.raises(PartitionMissing, match="has 2 partitions, there is no partition 99"):
        world.audit(partition=99)


def test_of_a_date_only_its_parts_and_its_records_are_judged(world: AuditedWorld) -> None:
    sound = world.audit(date=NEXT_DATE)
    assert (sound.verdict, sound.zone.parts, [each.landed for each in sound.partitions]) == ("clean", 3, [3, 2])
    assert [each.holds for each in sound.partitions] == [True, True]
    world.delete(f"{PREFIX}part-0002.json")
    world.put(f"{PREFIX}notes.txt", b"", {})
    assert world.audit(date=NEXT_DATE).findings == []
    hurt = world.audit(date=DATE)
    assert kinds(hurt) == {"part_missing", "foreign_object", "missing"}
    assert found(hurt, "missing")[1] == [(5, 7), (9, 10)]
    assert [each.lettered for each in world.audit(date=DATE).partitions] == [3, 2]


def test_a_date_that_nothing_landed_of_is_missing_all_the_same(world: AuditedWorld) -> None:
    for info in list(world.store.list(f"raw/dataset={DATASET}/ingestion_date={NEXT_DATE}/")):
        world.delete(info.name)
    assert found(world.audit(date=NEXT_DATE), "missing")[1] == [(7, 9), (20, 21), (5, 7)]
    assert world.audit(date="2026-11-23").verdict == "clean"


def test_of_a_partition_only_its_offsets_are_judged(world: AuditedWorld) -> None:
    world.delete(f"{PREFIX}part-0011.json")
    assert {each.partition for each in world.audit(partition=0).partitions} == {0}
    assert "missing" not in kinds(world.audit(partition=0))
    assert found(world.audit(partition=1), "missing")[1] == [(20, 21)]


# What cannot be judged


def test_of_a_topic_that_was_made_anew_the_old_rows_are_unproven_and_still_judged_for_what_is_there_twice(
    world: AuditedWorld,
) -> None:
    world.recreate_topic()
    world.produce(6, P0)
    world.land()
    report = world.audit(deep=True)
    assert (report.verdict, report.findings) == ("unproven", [])
    assert [(each.current, each.landed) for each in report.partitions] == [
        (False, 27),
        (False, 20),
        (True, 6),
        (True, 0),
    ]
    assert {note.kind for note in report.notes} == {"other_topic"}
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 1)
    info, body = world.store.read(f"{PREFIX}part-0001.json")
    world.put(f"{PREFIX}part-0013.json", body, info.metadata)
    assert the(world.audit(), "duplicated").topic_id == "memory-1"


def test_without_the_topic_nothing_is_clean(world: AuditedWorld) -> None:
    world.log.delete_topic("streamlake.orders.raw")
    report = world.audit()
    assert (report.verdict, report.findings) == ("unproven", [])
    assert "topic_missing" in {note.kind for note in report.notes}


def test_a_position_committed_for_another_topic_id_commits_nothing(world: AuditedWorld) -> None:
    world.recreate_topic()
    world.produce(6, P0)
    world.commit(P0, 6, commit_metadata("memory-1"))
    report = world.audit()
    assert report.findings == []
    assert "other_commit" in {note.kind for note in report.notes}


def test_an_accepted_gap_stands_apart(world: AuditedWorld) -> None:
    world.produce(10, P0)
    world.commit(P0, 35)
    assert found(world.audit(), "missing")[1] == [(30, 35)]
    starts = StartPositions(DATASET, world.store, {}, world.admin, world.log.reader())
    starts.accept(Gap(DATASET, P0.topic, world.topic_id, 0, 30, 35, None), "somebody", "now")
    world.land()
    report = world.audit(deep=True)
    assert (report.verdict, report.partitions[0].accepted, report.partitions[0].holds) == ("clean", 5, True)
    assert [note.kind for note in report.notes] == ["accepted_gap"]
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 1)


def test_a_letter_of_a_record_that_has_landed_does_not_count(world: AuditedWorld) -> None:
    world.append_letter(dlq_source_partition="0", dlq_source_offset="0", dlq_source_topic_id="memory-1")
    report = world.audit()
    assert (report.verdict, report.partitions[0].void_letters, report.partitions[0].lettered) == ("clean", 1, 3)


def test_a_broken_zone_does_not_break_its_report(world: AuditedWorld) -> None:
    for number in range(MAX_FINDINGS + 5):
        world.put(f"{PREFIX}stray-{number}", b"", {})
    report = world.audit()
    assert len(report.findings) == MAX_FINDINGS
    assert [note.kind for note in report.notes] == ["findings_cut"]
    many = Ranges.of((2 * n, 2 * n + 1) for n in range(MAX_RANGES + 7))
    assert (many.offsets, len(many.ranges), many.more_ranges) == (MAX_RANGES + 7, MAX_RANGES, 7)


# A replay


def planned(world: AuditedWorld, replay_id: str, selection: Selection, *ranges: tuple[int, int, int]) -> ReplayPlan:
    """A replay's stored plan: partition, start and until of each range."""
    partitions = tuple(PartitionPlan(number, start, until) for number, start, until in ranges)
    request = ReplayRequest(replay_id, DATASET, selection)
    plan = ReplayPlan(request, world.topic_id, partitions, 1, False, "somebody", "now")
    return ReplayRecords(world.store).adopt(plan)


def replay(world: AuditedWorld, replay_id: str, *offsets: int) -> None:
    """Land these under the id."""
    log = part_log(world.store)
    log.land([rows(offsets)], claim((offsets[0], offsets[-1] + 1)), lambda part: None, replay_id)
    log.roll_up.write(0.0)


def letter(world: AuditedWorld, replay_id: str, offset: int) -> None:
    """A consumer's letter again, of the replay."""
    [first, *_] = world.letters(0)
    told = {"dlq_source_offset": str(offset), "dlq_source_partition": "0"}
    headers = [(name, told[name].encode() if name in told else value) for name, value in first.headers]
    world.log.writer().append_and_wait([first._replace(headers=[*headers, ("dlq_replay_id", replay_id.encode())])])


def test_a_replay_is_proved_by_its_sum(world: AuditedWorld) -> None:
    planned(world, "again", Selection(), (0, 0, 6))
    replay(world, "again", 0, 1, 2)
    unfinished = world.audit(replay_id="again")
    assert found(unfinished, "replay_missing")[1] == [(3, 6)]
    replay(world, "again", 4, 5)
    letter(world, "again", 3)
    report = world.audit(replay_id="again")
    [told] = report.replays
    assert (report.verdict, report.partitions, told.selected, told.landed, told.lettered) == ("clean", [], 6, 5, 1)
    assert told.holds
    assert world.audit().verdict == "clean", "live landing is undisturbed"


def test_a_replay_by_time_needs_only_what_it_selects(world: AuditedWorld) -> None:
    planned(world, "minute", Selection(since_ms=T0 + 13, until_ms=T0 + 15), (0, 0, 30))
    replay(world, "minute", 13)
    assert found(world.audit(replay_id="minute"), "replay_missing")[1] == [(14, 15)]
    replay(world, "minute", 14)
    assert world.audit(replay_id="minute").verdict == "clean"
    replay(world, "minute", 16)
    assert kinds(world.audit(replay_id="minute")) == {"replay_foreign"}


def test_what_a_replay_did_not_select_is_foreign(world: AuditedWorld) -> None:
    planned(world, "few", Selection(), (0, 0, 3))
    replay(world, "few", 0, 1, 2, 4)
    assert found(world.audit(replay_id="few"), "replay_foreign")[1] == [(4, 5)]


def test_rows_twice_in_one_replay_are_found_and_the_same_rows_in_two_are_not(world: AuditedWorld) -> None:
    for replay_id in ("one", "two"):
        planned(world, replay_id, Selection(), (0, 0, 3))
        replay(world, replay_id, 0, 1, 2)
    assert world.audit().findings == []
    copy = world.names()[11]
    info, body = world.store.read(copy)
    world.put(f"{PREFIX}part-0014.json", body, info.metadata)
    assert the(world.audit(), "duplicated").replay_id == info.metadata["replay_id"]


def test_what_retention_took_of_a_replay_is_unproven_unless_its_loss_was_accepted(world: AuditedWorld) -> None:
    planned(world, "late", Selection(), (0, 0, 6))
    replay(world, "late", 4, 5)
    world.log.trim(P0, 4)
    report = world.audit(replay_id="late")
    assert (report.verdict, report.replays[0].unproven.ranges, report.replays[0].selected) == (
        "unproven",
        [(0, 4)],
        None,
    )
    ReplayRecords(world.store).begin("late", "somebody", "now").update("now", lost={"0": (0, 4)})
    assert world.audit(replay_id="late").verdict == "clean"


def test_a_replay_that_there_is_not_is_refused(world: AuditedWorld) -> None:
    with pytest.raises(ReplayRefused, match="no such replay"):
        world.audit(replay_id="nope")
