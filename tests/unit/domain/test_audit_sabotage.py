"""Damage, kind by kind: each is found, and named by its kind, its object or its offsets."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.unit.domain.audited import GROUP, AuditedWorld, claims_of, found, kinds, sound_world, the
from tests.unit.domain.worlds import DATASET, NEXT_DATE, P0, PREFIX, RAW, T0, TOPIC_ID

from streamlake.domain.model.audit_report import FINDINGS, Ranges
from streamlake.domain.model.letters import REDRIVEN, LetterId, Resolution, resolution_record
from streamlake.domain.model.parts import raw_folder
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.snapshots import commit_metadata

FIRST, SECOND, THIRD, LAST = (f"{PREFIX}part-{number:04d}.json" for number in (1, 2, 3, 11))
ROLL_UP = f"{PREFIX}_metadata.json"


@pytest.fixture
def world() -> AuditedWorld:
    return sound_world()


def test_what_was_not_damaged_gives_no_finding(world: AuditedWorld) -> None:
    report = world.audit()
    assert (report.verdict, report.findings, report.notes) == ("clean", [], [])
    assert [each.holds for each in report.partitions] == [True, True]


# Parts


def test_a_deleted_part_in_the_middle(world: AuditedWorld) -> None:
    world.delete(SECOND)
    report = world.audit()
    assert found(report, "part_missing")[0] == [SECOND]
    assert found(report, "missing")[1] == [(5, 7), (9, 10)]


def test_a_deleted_last_part(world: AuditedWorld) -> None:
    """Nothing after it misses it, but the roll-up does, and the log does."""
    world.delete(LAST)
    report = world.audit()
    assert LAST in found(report, "part_missing")[0]
    assert found(report, "missing")[1] == [(20, 21)]


def test_a_deleted_last_part_whose_records_the_log_no_longer_holds(world: AuditedWorld) -> None:
    """With its roll-up deleted or taken back, nothing tells of it any more: unproven, and never clean."""
    world.delete(LAST)
    stale = json.loads(world.delete(ROLL_UP)[1])
    world.log.trim(TopicPartition(RAW, 1), 22)
    report = world.audit()
    assert kinds(report) == {"roll_up_missing"}
    assert (report.partitions[1].unproven.ranges, stale["totals"]["parts"]) == ([(20, 21)], 11)
    assert report.partitions[1].unproven.offsets == 1


def test_a_deleted_prefix(world: AuditedWorld) -> None:
    prefix = f"{raw_folder('orders')}ingestion_date={NEXT_DATE}/"
    for info in list(world.store.list(prefix)):
        world.delete(info.name)
    report = world.audit()
    assert found(report, "missing")[1] == [(7, 9), (20, 21), (5, 7)]


def test_an_edited_line(world: AuditedWorld) -> None:
    world.edit(SECOND, lambda body: body.replace(b'"n":6', b'"n":7'))
    assert found(world.audit(), "body_exchanged")[0] == [SECOND]


def test_an_edited_line_whose_checksum_was_forged_too(world: AuditedWorld) -> None:
    """The next part remembers the checksum."""
    world.edit(SECOND, lambda body: body.replace(b'"n":6', b'"n":7'), forge=True)
    report = world.audit()
    assert found(report, "chain_broken")[0] == [SECOND, THIRD]
    assert found(report, "roll_up_wrong")[0] == [ROLL_UP, SECOND]


def test_a_part_that_was_copied_to_the_end(world: AuditedWorld) -> None:
    info, body = world.store.read(SECOND)
    copy = f"{PREFIX}part-0012.json"
    world.put(copy, body, info.metadata)
    report = world.audit()
    assert found(report, "duplicated")[1] == [(5, 7), (9, 10)]
    assert copy in found(report, "chain_broken")[0]
    [holds, _] = [each.holds for each in report.partitions]
    assert not holds


def test_a_part_that_was_copied_to_another_date(world: AuditedWorld) -> None:
    info, body = world.store.read(LAST)
    copy = f"{raw_folder('orders')}ingestion_date={NEXT_DATE}/part-0004.json"
    world.put(copy, body, info.metadata)
    report = world.audit()
    assert found(report, "duplicated")[1] == [(20, 21)]
    assert copy in found(report, "rows_inconsistent")[0], "its rows are of another date"


def test_a_part_under_a_second_name(world: AuditedWorld) -> None:
    info, body = world.store.read(SECOND)
    world.put(f"{PREFIX}part-0002.json.gz", body, info.metadata)
    report = world.audit()
    assert found(report, "part_twice")[0] == [f"{PREFIX}part-0002.json.gz"]
    assert "formats_mixed" in kinds(report)
    assert found(report, "duplicated")[1] == [(5, 7), (9, 10)]


def test_two_parts_swapped(world: AuditedWorld) -> None:
    (second, body_of_second), (third, body_of_third) = world.store.read(SECOND), world.store.read(THIRD)
    world.put(SECOND, body_of_third, third.metadata)
    world.put(THIRD, body_of_second, second.metadata)
    assert {SECOND, THIRD} <= set(found(world.audit(), "chain_broken")[0])


def test_a_renumbered_part(world: AuditedWorld) -> None:
    info, body = world.delete(LAST)
    moved = f"{PREFIX}part-0012.json"
    world.put(moved, body, info.metadata)
    report = world.audit()
    assert found(report, "part_missing")[0] == [LAST]
    assert "missing" not in kinds(report), "its rows are still there"


def test_all_parts_renumbered_by_one(world: AuditedWorld) -> None:
    for number in range(11, 0, -1):
        info, body = world.delete(f"{PREFIX}part-{number:04d}.json")
        world.put(f"{PREFIX}part-{number + 1:04d}.json", body, info.metadata)
    report = world.audit()
    assert found(report, "part_missing")[0] == [FIRST]
    assert {"chain_broken", "roll_up_wrong"} <= kinds(report)


def test_a_part_replaced_by_one_of_another_history(world: AuditedWorld) -> None:
    """All in itself is right: another zone's part 2, say."""
    other = AuditedWorld()
    other.produce(30, P0, bad=(3, 11, 12), next_day=(7, 8, 20), headers=[("trace", b"x")])
    other.land()
    info, body = other.store.read(SECOND)
    world.put(SECOND, body, info.metadata)
    assert SECOND in found(world.audit(), "chain_broken")[0]


def test_a_part_without_its_metadata(world: AuditedWorld) -> None:
    """As a copy by a careless tool leaves it."""
    world.put(SECOND, world.store.read(SECOND)[1], {})
    report = world.audit()
    assert found(report, "part_unreadable")[0] == [SECOND]
    assert found(report, "missing")[1] == [(5, 7), (9, 10)]


# What a part says of itself


def test_forged_claims(world: AuditedWorld) -> None:
    world.patch(SECOND, claims=claims_of(world, SECOND).replace("[5,10]", "[5,25]"))
    assert found(world.audit(), "chain_broken")[0] == [SECOND, THIRD]


def test_forged_claims_of_the_last_part(world: AuditedWorld) -> None:
    """Nobody remembers the last part; but the roll-up does."""
    world.patch(LAST, claims=claims_of(world, LAST).replace("[20,22]", "[19,22]"))
    assert found(world.audit(), "roll_up_wrong")[0] == [ROLL_UP, LAST]


def test_forged_claims_that_would_make_the_next_records_pass_for_landed(world: AuditedWorld) -> None:
    """Even where the roll-up was made to fit: the log shows records that are claimed and are nowhere."""
    world.produce(6, P0)
    name = f"{PREFIX}part-0006.json"
    world.patch(name, claims=claims_of(world, name).replace("[25,30]", "[25,33]"))
    report = world.audit()
    assert found(report, "false_claim")[1] == [(30, 33)]
    assert world.admin.group_offsets(GROUP, [P0])[P0].offset == 30, "before anything is lost"


def test_claims_beyond_the_end_of_the_log(world: AuditedWorld) -> None:
    name = f"{PREFIX}part-0006.json"
    world.patch(name, claims=claims_of(world, name).replace("[25,30]", "[25,40]"))
    assert found(world.audit(), "claim_beyond_log")[1] == [(30, 40)]


def test_claims_cut_below_the_rows(world: AuditedWorld) -> None:
    world.patch(LAST, claims=claims_of(world, LAST).replace("[20,22]", "[21,22]"))
    assert found(world.audit(), "rows_inconsistent")[0] == [LAST]


def test_a_moved_offset_in_the_list_of_rows(world: AuditedWorld) -> None:
    """The list is in no digest; but then one offset is nowhere, and another is there twice."""
    world.patch(SECOND, rows='{"memory-1":{"0":[[5,8]]}}')
    report = world.audit()
    assert found(report, "missing")[1] == [(9, 10)]
    assert found(report, "duplicated")[1] == [(7, 8)]


def test_a_wrong_number_of_records(world: AuditedWorld) -> None:
    world.patch(SECOND, records="4")
    assert found(world.audit(), "rows_inconsistent")[0] == [SECOND]


def test_rows_of_offsets_that_were_never_given(world: AuditedWorld) -> None:
    world.patch(LAST, rows='{"memory-1":{"1":[[1000,1001]]}}', claims='{"memory-1":{"1":[[1000,1001]]}}')
    report = world.audit()
    assert found(report, "foreign_rows")[1] == [(1000, 1001)]
    assert found(report, "missing")[1] == [(20, 21)]


def test_rows_of_a_partition_that_there_is_not(world: AuditedWorld) -> None:
    world.patch(LAST, rows='{"memory-1":{"9":[[20,21]]}}', claims='{"memory-1":{"9":[[20,22]]}}')
    assert the(world.audit(), "foreign_rows").partition == 9


# Dead letters and positions


def test_a_dropped_letter(world: AuditedWorld) -> None:
    world.forget_letter(0)
    offsets = found(world.audit(), "missing")[1]
    assert len(offsets) == 1
    assert offsets[0] in [(3, 4), (11, 12), (12, 13), (0, 1), (21, 22)]


def test_a_letter_of_an_offset_that_was_never_given(world: AuditedWorld) -> None:
    world.append_letter(dlq_source_partition="0", dlq_source_offset="500")
    assert found(world.audit(), "foreign_letter")[1] == [(500, 501)]


def test_a_stranger_among_the_letters(world: AuditedWorld) -> None:
    world.append_letter(dlq_stage="banana")
    assert "letter_unreadable" in kinds(world.audit())


def test_a_letter_that_was_redriven_to_two_places_is_named_and_breaks_no_sum(world: AuditedWorld) -> None:
    letter = LetterId(TOPIC_ID, 0, 3)
    for offset in (15, 16, 16):
        made = Resolution(letter, REDRIVEN, "ann", "now", "", LetterId(TOPIC_ID, 1, offset))
        world.log.writer().append_and_wait([resolution_record(DATASET, made, 0, T0)])
    report = world.audit()
    assert report.verdict == "clean"
    [note] = report.notes
    assert (note.kind, note.partition, note.offsets) == ("redriven_twice", 0, Ranges.of([(3, 4)]))


def test_a_committed_position_moved_ahead(world: AuditedWorld) -> None:
    world.produce(10, P0)
    world.commit(P0, 37)
    assert found(world.audit(), "missing")[1] == [(30, 37)]


def test_a_committed_position_beyond_the_end(world: AuditedWorld) -> None:
    world.commit(P0, 35, commit_metadata("memory-1"))
    assert found(world.audit(), "committed_beyond_log")[1] == [(30, 35)]


def test_a_log_that_lost_its_end(world: AuditedWorld) -> None:
    """An unclean election: what has landed is beyond the log's end."""
    world.log._store.topics[RAW].partitions[0].trim(30)
    world.log._store.topics[RAW].partitions[0].low = 25
    report = world.audit()
    assert {"foreign_rows", "claim_beyond_log", "committed_beyond_log"} <= kinds(report)


# The roll-up, and what does not belong there


def test_a_stale_roll_up_is_named_and_is_nothing_wrong(world: AuditedWorld) -> None:
    """An old one put back looks like one that a killed consumer left behind."""
    before = world.store.read(ROLL_UP)[1]
    world.produce(7, P0)
    world.land()
    world.put(ROLL_UP, before, {})
    report = world.audit()
    assert (report.verdict, report.findings) == ("clean", [])
    [note] = report.notes
    assert (note.kind, note.objects) == ("stale_roll_up", [ROLL_UP])
    assert "11 of 13 parts" in note.detail


def test_a_deleted_roll_up(world: AuditedWorld) -> None:
    world.delete(ROLL_UP)
    assert found(world.audit(), "roll_up_missing")[0] == [ROLL_UP]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"version":1}', b"[" * 100_000])
def test_a_roll_up_that_is_none(world: AuditedWorld, body: bytes) -> None:
    world.put(ROLL_UP, body, {})
    assert found(world.audit(), "roll_up_unreadable")[0] == [ROLL_UP]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda told: told["parts"][1].update(records=99), "roll_up_unreadable"),  # its own totals say otherwise
        (lambda told: told["parts"][1].update(crc32c="AAAAAA=="), "roll_up_wrong"),
        (lambda told: told["parts"][1]["claims"].clear(), "roll_up_wrong"),
        (lambda told: told.update(dataset="flights"), "roll_up_unreadable"),
        (lambda told: told.update(ingestion_date=NEXT_DATE), "roll_up_unreadable"),
        (lambda told: told["totals"].update(parts=12), "roll_up_unreadable"),
        (lambda told: told["parts"][1].update(name="part-0002.parquet"), "roll_up_unreadable"),
    ],
)
def test_an_edited_roll_up(world: AuditedWorld, change: Callable[[dict[str, object]], object], kind: str) -> None:
    told = json.loads(world.store.read(ROLL_UP)[1])
    change(told)
    world.put(ROLL_UP, json.dumps(told).encode(), {})
    report = world.audit()
    assert kinds(report) == {kind}
    assert ROLL_UP in found(report, kind)[0]


def test_a_roll_up_of_another_bucket_is_fine(world: AuditedWorld) -> None:
    """A copied bucket has other generations."""
    told = json.loads(world.store.read(ROLL_UP)[1])
    for part in told["parts"]:
        part["generation"] += 1000
    world.put(ROLL_UP, json.dumps(told).encode(), {})
    assert world.audit().findings == []


@pytest.mark.parametrize(
    "name",
    [
        f"{PREFIX}part-0001.csv",
        f"{PREFIX}part-00002.json",
        f"{PREFIX}part-1.json",
        f"{PREFIX}notes.txt",
        f"{PREFIX}deeper/part-0001.json",
        "raw/dataset=orders/part-0001.json",
        "raw/dataset=orders/ingestion_date=yesterday/part-0001.json",
        "raw/dataset=orders/ingestion_date=20261121/part-0001.json",
        "raw/dataset=orders/_SUCCESS",
    ],
)
def test_a_foreign_file(world: AuditedWorld, name: str) -> None:
    world.put(name, b"{}\n", {})
    assert found(world.audit(), "foreign_object")[0] == [name]


def test_a_gap_that_was_edited_accepts_nothing(world: AuditedWorld) -> None:
    world.put("ops/gaps/orders/memory-1-0-0-5.json", b'{"v":1}', {})
    assert found(world.audit(), "gap_unreadable")[0] == ["ops/gaps/orders/memory-1-0-0-5.json"]


def test_every_kind_of_finding_is_listed_with_its_meaning() -> None:
    assert all(meaning and meaning[0].islower() for meaning in FINDINGS.values())
