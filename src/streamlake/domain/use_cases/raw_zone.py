"""What lies in a dataset's raw zone, read back: its parts in order, and which records each of them holds.

Rows are what counts: a part's `rows` where the list fitted its metadata, else the body. A claim says more than that (it
also speaks of dead letters and of earlier parts), so it never stands for rows here (ADR 5).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from streamlake.domain.model.parts import PartInfo, raw_folder, raw_prefix
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.roll_up import parts_of, read_part_info

_DATE = "ingestion_date="


@dataclass(frozen=True, slots=True)
class ZonePart:
    """One part as it is stored, with what it says of itself."""

    date: str
    number: int
    extension: str
    stored: ObjectInfo
    info: PartInfo

    @property
    def name(self) -> str:
        """The object's whole name."""
        return self.stored.name


class RawZone:
    """One dataset's raw zone, for readers: nothing is created or changed. Remembers nothing between calls.

    Every method raises the store's errors, and `PrefixDamaged` for a part whose claims cannot be read.
    """

    def __init__(self, dataset: str, store: ObjectStore, formats: Mapping[str, PartFormat]) -> None:
        self.dataset = dataset
        self._store = store
        self._formats = formats

    def dates(self) -> list[str]:
        """The ISO dates there are prefixes of, ascending."""
        folders = self._store.folders(raw_folder(self.dataset))
        return [name.removeprefix(_DATE) for name in folders if name.startswith(_DATE)]

    def parts(self, dates: Iterable[str] | None = None) -> Iterator[ZonePart]:
        """Every part of these dates (of all, if None), by date and number. Holds the listing of one date at a time."""
        for date in self.dates() if dates is None else dates:
            for name, found in parts_of(self._store.list(raw_prefix(self.dataset, date) + "part-")):
                yield ZonePart(date, name.number, name.extension, found, read_part_info(found))

    def envelopes(self, part: ZonePart) -> Iterator[bytes]:
        """The envelopes of a part as JSON, whatever its format. Raises `ObjectMissing` where it is gone by now."""
        return self._formats[part.extension].envelopes(self._store.read(part.name)[1])

    def rows(self, part: ZonePart) -> Mapping[Lane, Offsets]:
        """The offsets really in a part, by lane. Reads the body only where the metadata does not hold the list."""
        return self._rows_in_body(part) if part.info.rows is None else part.info.rows

    def landed(
        self,
        lanes: Collection[Lane] | None = None,
        *,
        replay_id: str | None = None,
        dates: Iterable[str] | None = None,
    ) -> dict[Lane, Offsets]:
        """Which offsets have landed, live or by one replay, of these lanes (of all, if None)."""
        landed: dict[Lane, Offsets] = {}
        for part in self.parts(dates):
            claimed = part.info.claims.keys()
            if part.info.replay_id != replay_id or not (lanes is None or any(lane in claimed for lane in lanes)):
                continue
            for lane, offsets in self.rows(part).items():
                if lanes is None or lane in lanes:
                    landed.setdefault(lane, Offsets()).update(offsets)
        return landed

    def _rows_in_body(self, part: ZonePart) -> dict[Lane, Offsets]:
        """A topic id is not in an envelope, but a part is of one id per partition: that of the snapshot it was in."""
        lanes = {lane.partition: lane for lane in part.info.claims}
        found: dict[Lane, Offsets] = {}
        for envelope in self.envelopes(part):
            told = json.loads(envelope)
            lane = lanes.get(told["partition"])
            if lane is not None:
                found.setdefault(lane, Offsets()).add(told["offset"], told["offset"] + 1)
        return found
