"""The one judge: what the log holds against what was landed and lettered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.unit.domain.worlds import DATASET, DATE, FORMATS

from streamlake.domain.model.parts import PartInfo, parse_part_name, raw_folder
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.use_cases.roll_up import parts_of, read_part_info

Place = tuple[int, int]
"""A partition and an offset."""


@dataclass
class Verdict:
    """Empty fields are good news."""

    lost: list[Place] = field(default_factory=list)
    duplicated: list[Place] = field(default_factory=list)
    phantom: list[Place] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)


def verdict(
    log: Iterable[Place],
    store: ObjectStore,
    letters: Iterable[Place] = (),
    *,
    replay_id: str | None = None,
    across_parts: bool = False,
) -> Verdict:
    """Every place of the log is once in the raw zone, or in the letters (a letter of what has landed is void).

    Rows of a partition ascend within each part. Where every writer began at a committed position they also do so
    `across_parts`, but for what one contract lettered and another landed later.
    """
    places, lettered = set(log), set(letters)
    landed: Counter[Place] = Counter()
    found = Verdict()
    for date in store.folders(raw_folder(DATASET)):
        highest: dict[int, int] = {}
        for info, part in parts_in(store, date):
            if part.replay_id != replay_id:
                continue
            inside = offsets_of(store, info)
            landed.update(inside)
            if not across_parts:
                highest = {}
            for partition, offset in inside:
                if offset < highest.get(partition, -1) and not (across_parts and (partition, offset) in lettered):
                    found.reordered.append(f"{info.name}: {partition}@{offset}")
                highest[partition] = max(offset, highest.get(partition, -1))
    found.lost = sorted(places - landed.keys() - lettered)
    found.duplicated = sorted(place for place, count in landed.items() if count > 1)
    found.phantom = sorted((landed.keys() | lettered) - places)
    return found


def parts_in(store: ObjectStore, date: str) -> list[tuple[ObjectInfo, PartInfo]]:
    """The parts of a date by number, as they say they are."""
    prefix = f"{raw_folder(DATASET)}{date if '=' in date else f'ingestion_date={date}'}/part-"
    return [(info, read_part_info(info)) for _, info in parts_of(store.list(prefix))]


def offsets_of(store: ObjectStore, info: ObjectInfo) -> list[Place]:
    """Where the rows in a part's body come from, in the order of the body."""
    name = parse_part_name(info.name)
    assert name is not None
    told = map(json.loads, FORMATS[name.extension].envelopes(store.read(info.name)[1]))
    return [(envelope["partition"], envelope["offset"]) for envelope in told]


def check_chain(store: ObjectStore, date: str) -> None:
    """The parts of a date are numbered densely, each names the one before it, and tells the truth about its body."""
    previous: tuple[ObjectInfo, PartInfo] | None = None
    for number, (info, part) in enumerate(parts_in(store, date), start=1):
        name = parse_part_name(info.name)
        assert name is not None
        assert name.number == number, f"{info.name}: should be number {number}"
        if previous is None:
            assert part.previous is None
        else:
            before, told = previous
            assert part.previous is not None
            assert part.previous.digest == told.digest(before.name)
            assert (part.previous.generation, part.previous.crc32c) == (before.generation, before.crc32c)
        body = offsets_of(store, info)
        assert len(body) == part.records > 0
        assert part.crc32c == info.crc32c
        for lane, claimed in part.claims.items():
            assert all(offset in claimed for partition, offset in body if partition == lane.partition)
        if part.rows is not None:
            in_body: dict[int, Offsets] = {}
            for partition, offset in body:
                in_body.setdefault(partition, Offsets()).add(offset, offset + 1)
            assert {lane.partition: offsets for lane, offsets in part.rows.items()} == in_body
            assert part.rows.keys() == part.claims.keys()
        previous = info, part


def claimed_in(store: ObjectStore, date: str, lane: Lane) -> Offsets:
    """All that the parts of a date claim of a lane."""
    claimed = Offsets()
    for _, part in parts_in(store, date):
        claimed.update(part.claims.get(lane, ()))
    return claimed


def bodies(store: ObjectStore, date: str = DATE) -> list[list[int]]:
    """The offsets in each part of a date."""
    return [[offset for _, offset in offsets_of(store, info)] for info, _ in parts_in(store, date)]
