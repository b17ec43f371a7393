"""Reading the raw zone back: parts in the order they were landed, and rows, never claims."""

from __future__ import annotations

import pytest
from tests.unit.domain.worlds import DATASET, DATE, FORMATS, L0, NEXT_DATE, PREFIX, land, part_log, put_part, rows

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import PrefixDamaged
from streamlake.domain.model.positions import Offsets
from streamlake.domain.use_cases.raw_zone import RawZone


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


def zone(store: MemoryObjectStore) -> RawZone:
    return RawZone(DATASET, store, FORMATS)


def test_an_empty_zone_has_nothing(store: MemoryObjectStore) -> None:
    assert (zone(store).dates(), list(zone(store).parts()), zone(store).landed()) == ([], [], {})


def test_parts_come_by_date_and_number(store: MemoryObjectStore) -> None:
    for date in (NEXT_DATE, DATE):
        log = part_log(store, date)
        for start in (0, 10, 20):
            land(log, start, start + 10)
    found = [(part.date, part.number) for part in zone(store).parts()]
    assert found == [(DATE, 1), (DATE, 2), (DATE, 3), (NEXT_DATE, 1), (NEXT_DATE, 2), (NEXT_DATE, 3)]
    assert [part.date for part in zone(store).parts([NEXT_DATE])] == [NEXT_DATE] * 3


def test_rows_count_and_claims_do_not(store: MemoryObjectStore) -> None:
    part_log(store).land([rows([3, 4, 8])], {L0: Offsets([(0, 10)])}, lambda _: None)
    assert zone(store).landed() == {L0: Offsets([(3, 5), (8, 9)])}


def test_rows_that_do_not_fit_the_metadata_are_read_from_the_body(store: MemoryObjectStore) -> None:
    scattered = list(range(0, 2_000, 2))
    part_log(store).land([rows(scattered)], {L0: Offsets([(0, 2_000)])}, lambda _: None)
    [part] = zone(store).parts()
    assert part.info.rows is None
    assert zone(store).landed([L0]) == {L0: Offsets.of(scattered)}


def test_live_and_replayed_rows_are_told_apart(store: MemoryObjectStore) -> None:
    log = part_log(store)
    land(log, 0, 10)
    log.land([rows([4, 5])], {L0: Offsets([(4, 6)])}, lambda _: None, "again")
    assert zone(store).landed() == {L0: Offsets([(0, 10)])}
    assert zone(store).landed(replay_id="again") == {L0: Offsets([(4, 6)])}


def test_a_part_without_readable_claims_is_damage_and_not_nothing(store: MemoryObjectStore) -> None:
    put_part(store, f"{PREFIX}part-0001.json", {})
    with pytest.raises(PrefixDamaged, match=r"part-0001\.json"):
        zone(store).landed()
