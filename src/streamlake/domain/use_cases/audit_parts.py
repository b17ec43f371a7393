"""The raw zone by itself: every object below `raw/dataset=<d>/` in one listing, each prefix checked on the way.

A prefix is sound where its parts are numbered densely from 1, have one format, each names the one before it, none
contradicts itself, the roll-up contradicts none of them, and nothing else lies beside them. Memory does not grow with
the number of parts, but for 16 bytes of each that the roll-up of the prefix under way lists.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import date as calendar_date
from typing import NamedTuple

from streamlake.domain.errors import ObjectMissing
from streamlake.domain.model.parts import (
    PartInfo,
    PartName,
    parse_part_name,
    part_info,
    part_name,
    raw_folder,
    raw_prefix,
)
from streamlake.domain.model.positions import Offsets
from streamlake.domain.model.times import LAST_MS, day_of_ms, iso_date
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.use_cases.audit_chain import Chain
from streamlake.domain.use_cases.audit_findings import Findings
from streamlake.domain.use_cases.audit_roll_up import ToldParts, read_roll_up
from streamlake.domain.use_cases.raw_zone import ZonePart
from streamlake.domain.use_cases.roll_up import ROLL_UP

DATE = "ingestion_date="
LOOKED_FOR = 1_000
"""How many parts of one hole are looked for by name: paging races leave out a few, somebody who deletes any number."""


class StaleRollUp(NamedTuple):
    """A roll-up that lags behind: how many parts it lists, and how many there are."""

    name: str
    listed: int
    parts: int


@dataclass(slots=True)
class ZoneWalk:
    """Walks through a dataset's raw zone; what is wrong goes to the findings."""

    dataset: str
    store: ObjectStore
    formats: Container[str]
    findings: Findings
    prefixes: int = 0
    stale: list[StaleRollUp] = field(default_factory=list)

    def parts(self, judged: str | None = None) -> Iterator[ZonePart]:
        """Every readable part, by the text of its name. Only the prefix of the `judged` date (None: all) is checked;
        the parts of the others come all the same."""
        prefix: _Prefix | None = None
        folder = raw_folder(self.dataset)
        for found in self.store.list(folder):
            date = _date_of(found.name.removeprefix(folder))
            if prefix is not None and date != prefix.date:
                yield from prefix.close()
                prefix = None
            if date is None:
                if judged is None:
                    self.findings.add("foreign_object", f"{found.name}: is in no date's prefix", found.name)
                continue
            if prefix is None:
                prefix = self._prefix(date, silent=judged not in (None, date))
            if (part := prefix.see(found)) is not None:
                yield part
        if prefix is not None:
            yield from prefix.close()

    def _prefix(self, date: str, *, silent: bool) -> _Prefix:
        if silent:
            return _Prefix(self.dataset, date, self.store, self.formats, Findings(), [])
        self.prefixes += 1
        return _Prefix(self.dataset, date, self.store, self.formats, self.findings, self.stale)


class _Prefix:
    def __init__(
        self,
        dataset: str,
        date: str,
        store: ObjectStore,
        formats: Container[str],
        findings: Findings,
        stale: list[StaleRollUp],
    ) -> None:
        self.date = date
        self._dataset = dataset
        self._store = store
        self._formats = formats
        self._findings = findings
        self._stale = stale
        self._folder = raw_prefix(dataset, date)
        self._roll_up = self._folder + ROLL_UP
        self._rolled_up = False
        self._told: ToldParts | None = None
        self._listed = 0
        self._numbers = Offsets()
        self._extensions: dict[str, str] = {}
        """Extension -> the first part that has it."""
        self._chain = Chain(findings)

    def see(self, found: ObjectInfo) -> ZonePart | None:
        """One object of the prefix: the part that it is, if it is one."""
        file = found.name.removeprefix(self._folder)
        if file == ROLL_UP:
            self._read_roll_up()
            return None
        name = parse_part_name(file)
        if name is None or name.extension not in self._formats or file != part_name(*name):
            self._findings.add("foreign_object", f"{found.name}: is neither a part nor the roll-up", found.name)
            return None
        if name.number in self._numbers:
            self._findings.add("part_twice", f"{found.name}: part {name.number} is there under two names", found.name)
        self._numbers.add(name.number, name.number + 1)
        self._extensions.setdefault(name.extension, found.name)
        info = self._read(found)
        self._chain.add(name.number, found.name, info)
        if info is None:
            return None
        self._hold_against_roll_up(name, found, info)
        return ZonePart(self.date, name.number, name.extension, found, info)

    def close(self) -> Iterator[ZonePart]:
        """The prefix has been listed: the parts that the listing missed, and what is wrong with the whole."""
        yield from self._fill_holes()
        if len(self._extensions) > 1:
            told = ", ".join(sorted(self._extensions))
            examples = self._extensions.values()
            self._findings.add("formats_mixed", f"{self._folder}: has parts of the formats {told}", *examples)
        self._close_roll_up()

    def _read(self, found: ObjectInfo) -> PartInfo | None:
        try:
            info = part_info(found.metadata)
        except ValueError as malformed:
            self._findings.add("part_unreadable", f"{found.name}: {malformed}", found.name)
            return None
        if info.crc32c != found.crc32c:
            told = f"{found.name}: stored with crc32c {found.crc32c}, was made with {info.crc32c}"
            self._findings.add("body_exchanged", told, found.name)
        for wrong in contradictions(info, self.date):
            self._findings.add("rows_inconsistent", f"{found.name}: {wrong}", found.name)
        return info

    def _hold_against_roll_up(self, name: PartName, found: ObjectInfo, info: PartInfo) -> None:
        if self._told is None:
            return
        self._listed += name.number in self._told
        if not self._told.agree_with(name.number, found, info):
            told = f"{self._roll_up}: says of {found.name} what that does not say of itself"
            self._findings.add("roll_up_wrong", told, self._roll_up, found.name)

    def _fill_holes(self) -> Iterator[ZonePart]:
        """Parts that were created while a later page was fetched are there; those that are not were deleted."""
        for start, end in self._numbers.gaps(1, self._last + 1):
            gone = max(0, end - start - LOOKED_FOR)
            for number in range(start, min(end, start + LOOKED_FOR)):
                found = self._look_for(number)
                if found is None:
                    gone += 1
                elif (part := self.see(found)) is not None:
                    yield part
            if gone:
                name = self._folder + part_name(start, next(iter(self._extensions)))
                told = f"{gone} parts from {name} on are" if gone > 1 else f"{name} is"
                self._findings.add("part_missing", f"{told} not there, though a later part is: deleted?", name)

    @property
    def _last(self) -> int:
        return max((end for _, end in self._numbers), default=1) - 1

    def _look_for(self, number: int) -> ObjectInfo | None:
        for extension in self._extensions:
            try:
                return self._store.describe(self._folder + part_name(number, extension))
            except ObjectMissing:
                continue
        return None

    def _read_roll_up(self) -> None:
        try:
            body = self._store.read(self._roll_up)[1]
        except ObjectMissing:
            return
        self._rolled_up = True
        try:
            self._told = read_roll_up(body, self._dataset, self.date)
        except ValueError as wrong:
            self._findings.add("roll_up_unreadable", f"{self._roll_up}: {wrong}", self._roll_up)

    def _close_roll_up(self) -> None:
        if not self._rolled_up and self._numbers:
            self._read_roll_up()  # it may have come while the first page was fetched
            if not self._rolled_up:
                told = f"{self._roll_up}: is not there; `streamlake raw-zone rebuild-metadata` makes it"
                self._findings.add("roll_up_missing", told, self._roll_up)
                return
        if self._told is None:
            return
        if self._extensions and self._told.format not in self._extensions:
            told = f"{self._roll_up}: says format {self._told.format}, the parts have {', '.join(self._extensions)}"
            self._findings.add("roll_up_wrong", told, self._roll_up)
        self._extensions.setdefault(self._told.format, self._roll_up)
        for number in self._told.beyond(self._last):
            if self._look_for(number) is None:
                part = self._folder + part_name(number, self._told.format)
                told = f"{part} is not there, though {self._roll_up} lists it: deleted?"
                self._findings.add("part_missing", told, part, self._roll_up)
        if self._listed < len(self._numbers):
            self._stale.append(StaleRollUp(self._roll_up, self._listed, len(self._numbers)))


def contradictions(info: PartInfo, date: str) -> Iterator[str]:
    """What a part of this date says of itself that cannot all be true."""
    if info.records < 1:
        yield f"records: a part has at least one, this says {info.records}"
    first, last = info.first_timestamp, info.last_timestamp
    if not 0 <= first <= last < LAST_MS or {iso_date(day_of_ms(first)), iso_date(day_of_ms(last))} != {date}:
        yield f"first_timestamp, last_timestamp: {first} to {last} is not within {date}"
    if info.rows is None:
        return
    listed = sum(map(len, info.rows.values()))
    if listed != info.records:
        yield f"rows: {listed} offsets for {info.records} records"
    if info.rows.keys() != info.claims.keys():
        yield "rows: are of other partitions than claims"
    for lane, offsets in info.rows.items():
        claimed = info.claims.get(lane, Offsets())
        if any(claimed.gaps(start, end) for start, end in offsets):
            yield f"rows: has offsets of partition {lane.partition} that it does not claim"


def _date_of(path: str) -> str | None:
    """The date of an object's path below the dataset's folder; None where it is in no date's prefix."""
    folder, slash, _ = path.partition("/")
    text = folder.removeprefix(DATE)
    if not slash or folder == text or len(text) != len("2026-11-21"):
        return None
    try:
        return calendar_date.fromisoformat(text).isoformat()
    except ValueError:
        return None
