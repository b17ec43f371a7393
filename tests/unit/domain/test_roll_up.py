"""`_metadata.json`: written seldom, by compare-and-swap, and made anew from the parts whatever became of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.domain.faults import Fault, FaultyStore
from tests.unit.domain.worlds import DATASET, DATE, L1, P1, PREFIX, TOPIC_ID, claim, land, part_log, put_part, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import GenerationChanged, ObjectMissing, PrefixDamaged, StoreUnavailable
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.roll_up import FREE_BYTES, MAX_UNWRITTEN, MIN_INTERVAL_S, rebuild_roll_up

NAME = PREFIX + "_metadata.json"


def stored(store: ObjectStore) -> dict[str, Any]:
    """The roll-up as a reader sees it."""
    told: dict[str, Any] = json.loads(store.read(NAME)[1])
    return told


def listed(store: ObjectStore) -> list[str]:
    return [entry["name"] for entry in stored(store)["parts"]]


def overwrite(store: ObjectStore, body: bytes) -> None:
    store.replace(NAME, body, content_type="", if_generation=store.describe(NAME).generation)


def three_parts() -> list[str]:
    return ["part-0001.json", "part-0002.json", "part-0003.json"]


def test_a_roll_up_tells_of_each_part_what_a_reader_wants() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    [part] = land(log, 2, 5)
    log.roll_up.write(0)
    told = stored(store)
    assert (told["version"], told["dataset"], told["ingestion_date"], told["format"]) == (1, DATASET, DATE, "json")
    [entry] = told["parts"]
    info = store.describe(part.name)
    assert entry["claims"] == {TOPIC_ID: {"0": [[2, 5]]}}
    assert (entry["name"], entry["kind"], entry["replay_id"]) == ("part-0001.json", "live", None)
    assert (entry["records"], entry["bytes"], entry["crc32c"]) == (3, info.size, info.crc32c)
    assert entry["generation"] == info.generation
    assert (entry["first_timestamp"], entry["last_timestamp"]) == (part.info.first_timestamp, part.info.last_timestamp)


def test_totals_tell_live_parts_and_each_replay_apart() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    land(log, 0, 2)
    land(log, 2, 7)
    land(log, 0, 3, "r2")
    land(log, 0, 1, "r1")
    log.roll_up.write(0)
    totals = stored(store)["totals"]
    assert totals["parts"] == 4
    assert (totals["live"]["parts"], totals["live"]["records"]) == (2, 7)
    assert {replay: each["records"] for replay, each in totals["replays"].items()} == {"r1": 1, "r2": 3}
    sizes = [info.size for info in store.list(PREFIX + "part-")]
    assert totals["live"]["bytes"] == sum(sizes[:2])
    assert totals["live"]["last_timestamp"] - totals["live"]["first_timestamp"] == 6


def test_a_roll_up_is_stale_until_it_is_written() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    log.covers(L1, 0)
    assert not log.roll_up.stale
    land(log, 0, 1)
    assert log.roll_up.stale
    log.roll_up.write(0)
    assert not log.roll_up.stale
    assert not log.roll_up.due(1000)


def test_a_roll_up_is_written_no_more_often_than_its_interval() -> None:
    log = part_log(MemoryObjectStore())
    land(log, 0, 1)
    assert log.roll_up.due(0)
    log.roll_up.write(100)
    land(log, 1, 2)
    assert not log.roll_up.due(100 + MIN_INTERVAL_S - 0.1)
    assert log.roll_up.due(100 + MIN_INTERVAL_S)


def test_a_write_that_failed_waits_for_the_interval_too_and_stays_stale() -> None:
    store = FaultyStore(MemoryObjectStore())
    log = part_log(store)
    land(log, 0, 1)
    store.script = {len(store.calls) + 1: Fault.BEFORE}
    with pytest.raises(StoreUnavailable):
        log.roll_up.write(0)
    assert log.roll_up.stale
    assert not log.roll_up.due(MIN_INTERVAL_S - 0.1)
    log.roll_up.write(MIN_INTERVAL_S)
    assert listed(store) == ["part-0001.json"]


def test_a_roll_up_refused_for_long_is_made_from_the_listing_at_last() -> None:
    """What it lacks is remembered no further than memory allows."""
    store = MemoryObjectStore()
    log = part_log(store)
    for offset in range(MAX_UNWRITTEN + 5):
        land(log, offset, offset + 1)
    assert log.roll_up.stale
    log.roll_up.write(0)
    assert len(listed(store)) == MAX_UNWRITTEN + 5
    assert not log.roll_up.stale
    land(log, MAX_UNWRITTEN + 5, MAX_UNWRITTEN + 6)
    assert log.roll_up.stale


def test_roll_ups_cost_a_small_share_of_what_was_landed() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    written = now = 0
    for number in range(600):
        land(log, number, number + 1)
        now += 1000
        if log.roll_up.due(now):
            log.roll_up.write(now)
            written += store.describe(NAME).size
    landed = sum(info.size for info in store.list(PREFIX + "part-"))
    assert FREE_BYTES / 2 < written <= FREE_BYTES + landed * 0.01 + store.describe(NAME).size
    assert log.roll_up.stale


def test_large_parts_pay_for_more_roll_ups() -> None:
    log = part_log(MemoryObjectStore())
    now = 0
    for number in range(300):
        log.land([rows([number], payload=b'"' + b"x" * 300_000 + b'"')], claim((number, number + 1)), lambda part: None)
        now += 1000
        assert log.roll_up.due(now), f"after {number} parts"
        if number % 30 == 0:
            log.roll_up.write(now)


def test_two_writers_lose_no_entry_of_each_other() -> None:
    store = MemoryObjectStore()
    racing = FaultyStore(store)
    one, other = part_log(racing), part_log(store)
    land(one, 0, 1)
    land(other, 0, 2)
    land(one, 1, 3)

    def other_first(call: str, name: str) -> None:
        if call == "replace":
            racing.hook = lambda call, name: None
            other.roll_up.write(0)

    racing.hook = other_first
    one.roll_up.write(0)
    assert listed(store) == three_parts()
    other.roll_up.write(0)
    assert listed(store) == three_parts()


def test_a_roll_up_that_others_write_all_the_time_is_tried_again_later() -> None:
    store = MemoryObjectStore()
    racing = FaultyStore(store)
    log = part_log(racing)
    land(log, 0, 1)
    racing.hook = lambda call, name: overwrite(store, store.read(NAME)[1]) if call == "replace" else None
    with pytest.raises(GenerationChanged):
        log.roll_up.write(0)
    assert log.roll_up.stale
    racing.hook = lambda call, name: None
    log.roll_up.write(0)
    assert listed(store) == ["part-0001.json"]


@pytest.mark.parametrize("fault", [Fault.AFTER, Fault.LATE])
def test_a_write_whose_reply_was_lost_adds_nothing_twice(fault: Fault) -> None:
    store = FaultyStore(MemoryObjectStore())
    log = part_log(store)
    land(log, 0, 1)
    store.script = {len(store.calls) + 2: fault}
    with pytest.raises(StoreUnavailable):
        log.roll_up.write(0)
    land(log, 1, 2)
    log.roll_up.write(20)
    store.deliver()
    assert listed(store) == ["part-0001.json", "part-0002.json"]


def test_a_hole_before_what_is_new_is_filled_from_the_listing() -> None:
    """Somebody else landed, and died before writing the roll-up."""
    store = MemoryObjectStore()
    land(part_log(store), 0, 1)
    land(part_log(store), 1, 2)
    heir = part_log(store)
    land(heir, 2, 3)
    heir.roll_up.write(0)
    assert listed(store) == three_parts()


COUNTS = ["records", "bytes", "first_timestamp", "last_timestamp"]
UNREADABLE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"format":"json"}',
    b'{"format":"json","parts":7}',
    b'{"format":"json","parts":[1,2]}',
    b'{"format":"json","parts":[{}]}',
    b'{"format":"json","parts":[{"name":7,"records":1,"bytes":1,"first_timestamp":1,"last_timestamp":1}]}',
    json.dumps(
        {"format": "json", "parts": [dict.fromkeys(COUNTS, 1) | {"replay_id": None, "name": "part-0002.json"}]}
    ).encode(),
    json.dumps(
        {"format": "json", "parts": [dict.fromkeys(COUNTS, "1") | {"replay_id": None, "name": "part-0001.json"}]}
    ).encode(),
    b'{"format":"json","parts":[{"replay_id":null,"records":"many","bytes":1}]}',
    b'{"format":7,"parts":[]}',
    b"[" * 5000,
]


@pytest.mark.parametrize("body", UNREADABLE)
@pytest.mark.parametrize("heir", [True, False])
def test_an_unreadable_roll_up_is_made_anew_from_the_parts(body: bytes, heir: bool) -> None:
    """By whoever landed every part so far, as by whoever came later."""
    store = MemoryObjectStore()
    log = part_log(store)
    land(log, 0, 1)
    land(log, 1, 2)
    log = part_log(store) if heir else log
    land(log, 2, 3)
    overwrite(store, body)
    log.roll_up.write(0)
    assert listed(store) == three_parts()
    assert stored(store)["format"] == "json"


def test_a_roll_up_that_somebody_deleted_is_made_anew() -> None:
    whole = MemoryObjectStore()
    land(part_log(whole), 0, 1)
    store = MemoryObjectStore()
    info, body = whole.read(PREFIX + "part-0001.json")
    put_part(store, info.name, info.metadata, body)
    log = part_log(store)
    land(log, 1, 2)
    log.roll_up.write(0)
    assert listed(store) == ["part-0001.json", "part-0002.json"]


def test_rebuilding_keeps_the_format_and_counts_the_parts() -> None:
    store = MemoryObjectStore()
    log = part_log(store, form="json.gz")
    land(log, 0, 1)
    log.land([rows([0], P1)], claim((0, 1), lane=L1), lambda part: None)
    before = stored(store)
    assert rebuild_roll_up(store, DATASET, DATE) == 2
    assert (before["format"], stored(store)["format"]) == ("json.gz", "json.gz")
    log.roll_up.write(0)
    assert listed(store) == ["part-0001.json.gz", "part-0002.json.gz"]


@pytest.mark.parametrize("body", UNREADABLE)
def test_rebuilding_mends_whatever_is_there(body: bytes) -> None:
    store = MemoryObjectStore()
    land(part_log(store), 0, 1)
    overwrite(store, body)
    assert rebuild_roll_up(store, DATASET, DATE) == 1
    assert listed(store) == ["part-0001.json"]


def test_rebuilding_keeps_the_format_settled_before_the_first_part() -> None:
    store = MemoryObjectStore()
    put_part(store, NAME, {}, b'{"format":"json.gz","parts":[]}')
    assert rebuild_roll_up(store, DATASET, DATE) == 0
    assert stored(store)["format"] == "json.gz"


def test_rebuilding_guesses_no_format() -> None:
    store = MemoryObjectStore()
    put_part(store, NAME, {}, b"{")
    with pytest.raises(PrefixDamaged, match="unreadable"):
        rebuild_roll_up(store, DATASET, DATE)


def test_rebuilding_an_empty_prefix_creates_nothing() -> None:
    store = MemoryObjectStore()
    with pytest.raises(ObjectMissing):
        rebuild_roll_up(store, DATASET, DATE)
    assert list(store.list("")) == []
