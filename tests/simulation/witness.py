"""Sees every effect at the moment it is applied, and says at once when a promise is broken.

a part      dense number, chain of predecessors, one format, true rows, true claims, right date, right bytes,
            nothing landed twice, in order; and never written again
a letter    of a bad record only, and not of what its sender knows to have landed
a commit    only of what is landed or lettered, whoever makes it and however late it is applied
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.simulation.facts import BAD, DISPUTED, GOOD, MARKER, NO_DATE, START, Broken, Facts

from streamlake.domain.model.parts import PartInfo, parse_part_name, part_info
from streamlake.domain.model.positions import Lane, Position, TopicPartition
from streamlake.domain.model.snapshots import committed_topic_id
from streamlake.domain.ports.object_store import ObjectInfo

Place = tuple[Lane, int]


@dataclass(slots=True)
class _Head:
    """The newest part of a prefix."""

    number: int
    extension: str = ""
    info: PartInfo | None = None
    stored: ObjectInfo | None = None


def rows_of(body: bytes) -> list[tuple[Place, bytes]]:
    """The rows of a part, in order: where each says it comes from, and its payload."""
    found = []
    for line in body.splitlines():
        raw = line[line.index(b'"payload":') + 10 : -1]
        topic_id, partition, offset = raw[7:-2].split(b"/")
        at = line.index(b'"partition":') + 12
        told = line[at : line.index(b',"timestamp"', at)].split(b',"offset":')
        if told != [partition, offset]:
            raise Broken(f"an envelope says partition and offset {told}, its payload is of {partition!r}/{offset!r}")
        found.append(((Lane(topic_id.decode(), int(partition)), int(offset)), raw))
    return found


class Witness:
    """Fed by the simulated adapters."""

    def __init__(self, facts: Facts, first_number: int) -> None:
        self._facts = facts
        self._first = first_number
        self._heads: dict[str, _Head] = {}
        self._last: dict[tuple[str | None, str, Lane], int] = {}
        self.replayed: dict[str, set[Place]] = {}

    def created(self, stored: ObjectInfo, body: bytes) -> None:
        """An object came into being."""
        prefix, _, file = stored.name.rpartition("/")
        name = parse_part_name(file)
        if name is None:
            return
        info = part_info(stored.metadata)
        head = self._heads.setdefault(prefix, _Head(self._first - 1))
        if name.number != head.number + 1:
            raise Broken(f"{stored.name}: not dense, part {head.number} was the last")
        if head.extension not in ("", name.extension):
            raise Broken(f"{stored.name}: the prefix has format {head.extension}")
        self._check_chain(stored.name, info, head)
        self._heads[prefix] = _Head(name.number, name.extension, info, stored)
        rows = rows_of(body)
        self._check_rows(stored.name, info, rows)
        date = prefix.rpartition("=")[2]
        for place, payload in rows:
            self._check_row(stored.name, date, info.replay_id, name.number, place, payload)
        if info.replay_id is None:
            self._check_claims(stored.name, date, info)

    def replaced(self, name: str) -> None:
        """An object was written anew."""
        if parse_part_name(name) is not None:
            raise Broken(f"{name}: a part was overwritten")

    def letter_asked(self, seen: Mapping[str, int], headers: Mapping[str, bytes | None]) -> None:
        """A process wants to letter a record, and has seen these prefixes up to these parts."""
        lane, offset = letter_place(headers)
        facts = self._facts.lanes[lane]
        number = facts.landed.get(offset)
        if number is not None and number <= seen.get(facts.date_of(offset), number):
            raise Broken(f"{lane}@{offset}: lettered, though its sender could know that it has landed")

    def lettered(self, headers: Mapping[str, bytes | None], value: bytes | None) -> None:
        """A letter is in the dead-letter topic."""
        lane, offset = letter_place(headers)
        facts = self._facts.lanes[lane]
        if facts.kinds[offset] in (GOOD, MARKER):
            raise Broken(f"{lane}@{offset}: a good record was lettered")
        if value != facts.payloads[offset]:
            raise Broken(f"{lane}@{offset}: a letter with other bytes")
        self._facts.count("letters")
        if offset in facts.landed:
            self._facts.count("void letters")
        elif offset not in facts.lettered:
            facts.first_lettered.add(offset)
        facts.lettered.add(offset)

    def committed(self, positions: Mapping[TopicPartition, Position]) -> None:
        """A commit is applied."""
        for source, position in positions.items():
            topic_id = committed_topic_id(position.metadata)
            facts = self._facts.lanes.get(Lane(topic_id or "", source.partition))
            if facts is None:
                raise Broken(f"{source}: committed with metadata {position.metadata!r}")
            if position.offset > facts.done_to and position.offset > facts.advance():
                raise Broken(f"{facts.lane}: committed {position.offset}, but {facts.done_to} is not landed")

    def _check_chain(self, name: str, info: PartInfo, head: _Head) -> None:
        if head.info is None or head.stored is None:
            if info.previous is not None:
                raise Broken(f"{name}: the first part names a part before it")
            return
        before = info.previous
        if before is None or (before.digest, before.generation, before.crc32c) != (
            head.info.digest(head.stored.name),
            head.stored.generation,
            head.stored.crc32c,
        ):
            raise Broken(f"{name}: does not name the part before it")

    def _check_rows(self, name: str, info: PartInfo, rows: list[tuple[Place, bytes]]) -> None:
        if not rows or info.records != len(rows):
            raise Broken(f"{name}: says {info.records} records, has {len(rows)}")
        if info.rows is None:
            return
        if sum(map(len, info.rows.values())) != len(rows):
            raise Broken(f"{name}: tells of other rows than it has")
        for (lane, offset), _ in rows:
            if offset not in info.rows.get(lane, ()) or offset not in info.claims.get(lane, ()):
                raise Broken(f"{name}: has {lane}@{offset}, but does not say so")

    def _check_row(
        self, name: str, date: str, replay_id: str | None, number: int, place: Place, payload: bytes
    ) -> None:
        lane, offset = place
        facts = self._facts.lanes.get(lane)
        if facts is None or offset >= len(facts.payloads) or payload != facts.payloads[offset]:
            raise Broken(f"{name}: phantom {lane}@{offset}")
        if facts.kinds[offset] in (BAD, NO_DATE) or facts.date_of(offset) != date:
            raise Broken(f"{name}: {lane}@{offset} does not belong here")
        if replay_id is None:
            if offset in facts.landed:
                raise Broken(f"{name}: {lane}@{offset} is landed twice, in part {facts.landed[offset]} too")
            facts.landed[offset] = number
            if offset in facts.lettered:
                self._facts.count("void letters")
        else:
            done = self.replayed.setdefault(replay_id, set())
            if place in done:
                raise Broken(f"{name}: {lane}@{offset} is landed twice by replay {replay_id}")
            done.add(place)
        last = self._last.get((replay_id, date, lane), -1)
        if offset > last:
            self._last[replay_id, date, lane] = offset
        elif offset not in facts.lettered and not facts.excused and not facts.second_life:
            raise Broken(f"{name}: {lane}@{offset} is reordered, {last} has landed before")

    def _check_claims(self, name: str, date: str, info: PartInfo) -> None:
        for lane, claimed in info.claims.items():
            facts = self._facts.lanes[lane]
            for start, end in claimed:
                if end > len(facts.kinds):
                    raise Broken(f"{name}: claims {lane} up to {end}, there are {len(facts.kinds)}")
                for offset in range(start, end):
                    kind = facts.kinds[offset]
                    if offset in facts.landed or offset in facts.lettered or kind == MARKER:
                        continue
                    if kind == NO_DATE or facts.date_of(offset) == date:
                        raise Broken(f"{name}: claims {lane}@{offset}, which is neither landed nor lettered")


def letter_place(headers: Mapping[str, bytes | None]) -> Place:
    """Which record a letter is of."""
    topic_id, partition = headers["dlq_source_topic_id"], headers["dlq_source_partition"]
    offset = headers["dlq_source_offset"]
    assert topic_id is not None
    assert partition is not None
    assert offset is not None
    return Lane(topic_id.decode(), int(partition)), int(offset)


def acceptable(payload: bytes | None, *, lenient: bool) -> bool:
    """What the two contracts of the simulation say."""
    return payload is not None and (
        payload.startswith(START[GOOD]) or (lenient and payload.startswith(START[DISPUTED]))
    )
