"""A prefix as a process finds it: its format, its numbering, and what is too damaged to go on with."""

from __future__ import annotations

import re

import pytest
from tests.unit.domain.faults import FaultyStore, Unlisting
from tests.unit.domain.verdict import bodies, check_chain
from tests.unit.domain.worlds import DATE, L0, PREFIX, land, part_log, put_part, without

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import PrefixDamaged
from streamlake.domain.model.parts import part_name
from streamlake.domain.ports.object_store import ObjectStore


def names(store: ObjectStore) -> list[str]:
    return [info.name.removeprefix(PREFIX) for info in store.list(PREFIX)]


def test_a_hole_halts_and_names_the_missing_part() -> None:
    store = MemoryObjectStore()
    whole = part_log(store)
    for start in range(4):
        land(whole, start, start + 1)
    holed = without(store, "part-0002.json")
    log = part_log(holed)
    with pytest.raises(PrefixDamaged, match=re.escape("part-0002.json: is missing")):
        land(log, 9, 10)
    assert "part-0005.json" not in names(holed)


def test_a_hole_that_is_mended_lets_the_same_process_go_on() -> None:
    store = MemoryObjectStore()
    whole = part_log(store)
    for start in range(4):
        land(whole, start, start + 1)
    mended = without(store, "part-0002.json")
    log = part_log(mended)
    with pytest.raises(PrefixDamaged):
        land(log, 3, 5)
    info, body = store.read(PREFIX + "part-0002.json")
    put_part(mended, info.name, info.metadata, body)
    land(log, 1, 5)
    assert bodies(mended) == [[0], [1], [2], [3], [4]]


def test_a_missing_first_part_is_a_hole_too() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    land(log, 0, 1)
    land(log, 1, 2)
    with pytest.raises(PrefixDamaged, match=re.escape("part-0001.json: is missing")):
        part_log(without(store, "part-0001.json")).covers(L0, 0)


def test_a_part_that_paging_missed_is_looked_up_by_name() -> None:
    store = MemoryObjectStore()
    log = part_log(store)
    for start in range(4):
        land(log, start, start + 1)
    racing = Unlisting(store, {PREFIX + "part-0002.json", PREFIX + "part-0003.json"})
    assert land(part_log(racing), 0, 4) == []


def test_two_formats_halt() -> None:
    store = MemoryObjectStore()
    land(part_log(store), 0, 1)
    info = store.describe(PREFIX + "part-0001.json")
    put_part(store, PREFIX + "part-0002.json.gz", info.metadata)
    with pytest.raises(PrefixDamaged, match=r"json, json\.gz"):
        part_log(store).covers(L0, 0)


def test_one_number_under_two_names_halts() -> None:
    store = MemoryObjectStore()
    land(part_log(store), 0, 1)
    info, body = store.read(PREFIX + "part-0001.json")
    put_part(store, PREFIX + "part-00001.json", info.metadata, body)
    with pytest.raises(PrefixDamaged, match="two names"):
        part_log(store).covers(L0, 0)


def test_a_part_without_readable_claims_halts_and_is_named() -> None:
    store = MemoryObjectStore()
    put_part(store, PREFIX + "part-0001.json", {})
    with pytest.raises(PrefixDamaged, match=re.escape("part-0001.json: claims cannot be read")):
        part_log(store).covers(L0, 0)


def test_a_part_that_is_not_the_bytes_it_says_halts() -> None:
    """Its claims would pass for landed rows that nobody can read."""
    store = MemoryObjectStore()
    log = part_log(store)
    log.covers(L0, 0)
    whole = MemoryObjectStore()
    land(part_log(whole), 0, 3)
    put_part(store, PREFIX + "part-0001.json", whole.describe(PREFIX + "part-0001.json").metadata, b"torn")
    for each in (log, log, part_log(store)):
        with pytest.raises(PrefixDamaged, match=re.escape("part-0001.json")):
            land(each, 0, 3)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"format":7}', b"\xff", b"[" * 5000])
def test_an_unreadable_roll_up_in_an_empty_prefix_halts(body: bytes) -> None:
    store = MemoryObjectStore()
    put_part(store, PREFIX + "_metadata.json", {}, body)
    with pytest.raises(PrefixDamaged, match=re.escape("_metadata.json")):
        land(part_log(store), 0, 1)
    assert names(store) == ["_metadata.json"]


def test_an_unreadable_roll_up_beside_parts_gates_nothing() -> None:
    store = MemoryObjectStore()
    land(part_log(store), 0, 1)
    generation = store.describe(PREFIX + "_metadata.json").generation
    store.replace(PREFIX + "_metadata.json", b"{", content_type="", if_generation=generation)
    assert len(land(part_log(store), 0, 2)) == 1


def test_the_format_of_the_parts_wins_over_the_wish() -> None:
    store = MemoryObjectStore()
    land(part_log(store, form="json.gz"), 0, 1)
    land(part_log(store, form="json"), 1, 2)
    assert names(store) == ["_metadata.json", "part-0001.json.gz", "part-0002.json.gz"]
    check_chain(store, DATE)


def test_the_loser_of_the_race_for_the_format_adopts_the_winners() -> None:
    store = MemoryObjectStore()
    racing = FaultyStore(store)
    loser = part_log(racing, form="json")
    racing.hook = lambda call, name: winner_first() if call == "create" else None

    def winner_first() -> None:
        racing.hook = lambda call, name: None
        land(part_log(store, form="json.gz"), 0, 1)

    land(loser, 0, 2)
    assert names(store) == ["_metadata.json", "part-0001.json.gz", "part-0002.json.gz"]
    assert bodies(store) == [[0], [1]]


def test_a_format_nobody_knows_here_halts() -> None:
    store = MemoryObjectStore()
    put_part(store, PREFIX + "_metadata.json", {}, b'{"format":"avro"}')
    with pytest.raises(PrefixDamaged, match="avro"):
        land(part_log(store), 0, 1)


def test_parts_are_counted_and_not_spelt_beyond_9999() -> None:
    """As text, part-10000 comes before part-9999."""
    store = MemoryObjectStore()
    writer = part_log(store)
    [first] = land(writer, 0, 1)
    told = store.describe(first.name).metadata
    for number in range(2, 10_001):
        put_part(store, PREFIX + part_name(number, "json"), told, store.read(first.name)[1])
    [next_part] = land(part_log(store), 1, 2)
    assert next_part.name == PREFIX + "part-10001.json"
    assert next_part.info.previous is not None
    assert next_part.info.previous.digest == first.info.digest(PREFIX + "part-10000.json")
    assert land(part_log(store), 0, 2) == []
