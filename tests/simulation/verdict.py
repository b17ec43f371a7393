"""The one judge: what the log held against what storage and the dead-letter topic hold in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.facts import DATASET, DISPUTED, GOOD, MARKER
from tests.simulation.group import SOURCES
from tests.simulation.witness import Place, letter_place, rows_of

from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.parts import raw_folder
from streamlake.domain.model.positions import Lane, Position, TopicPartition
from streamlake.domain.model.snapshots import committed_topic_id
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.roll_up import parts_of, read_part_info

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Verdict:
    """Empty fields are good news."""

    lost: list[Place] = field(default_factory=list)
    duplicated: list[Place] = field(default_factory=list)
    phantom: list[Place] = field(default_factory=list)
    reordered: list[Place] = field(default_factory=list)
    uncommitted: list[str] = field(default_factory=list)
    broken: str = ""
    """A promise that was broken on the way: the world stopped there."""

    @property
    def word(self) -> str:
        """The worst of it in a word, `passed` if there is nothing."""
        if self.broken:
            return "broken"
        names = ("duplicated", "lost", "phantom", "reordered", "uncommitted")
        return next((name for name in names if getattr(self, name)), "passed")

    def __bool__(self) -> bool:
        return self.word == "passed"

    def __str__(self) -> str:
        told = [f"{name}: {getattr(self, name)}" for name in self.__slots__ if getattr(self, name)]
        return "; ".join(told) or "passed"


def landed_in(store: ObjectStore, dataset: str) -> dict[str | None, list[list[tuple[Place, bytes]]]]:
    """Replay id (None: live) -> the rows of its parts, part by part in the order of date and number."""
    found: dict[str | None, list[list[tuple[Place, bytes]]]] = {}
    for date in store.folders(raw_folder(dataset)):
        for _, info in parts_of(store.list(f"{raw_folder(dataset)}{date}/part-")):
            rows = rows_of(store.read(info.name)[1])
            found.setdefault(read_part_info(info).replay_id, []).append(rows)
    return found


def verdict(world: World) -> Verdict:
    """Every record of a topic that still is: once in the raw zone, or in the letters. Of a topic that is gone: at most
    once. Every replay: each good record of its range, once. Every partition: committed up to its end."""
    found = Verdict()
    facts = world.facts
    topic_id = world.group.topic_id()
    landed = landed_in(world.around.bucket, DATASET)
    lettered = _lettered(world)
    live = Counter(place for rows in landed.get(None, ()) for place, _ in rows)
    for lane, lane_facts in facts.lanes.items():
        for offset, kind in enumerate(lane_facts.kinds):
            place = (lane, offset)
            if kind == MARKER or offset in lane_facts.excused:
                continue
            if lane.topic_id == topic_id and place not in live and place not in lettered:
                found.lost.append(place)
    found.duplicated = [place for place, count in live.items() if count > 1]
    found.phantom = [place for place in live.keys() | lettered if place[0] not in facts.lanes]
    for replay_id, plan in world.replays.items():
        replayed = Counter(place for rows in landed.get(replay_id, ()) for place, _ in rows)
        kinds = facts.lanes[plan.lane].kinds
        wanted = {(plan.lane, at) for at in range(plan.start, plan.until) if kinds[at] in (GOOD, DISPUTED)}
        found.duplicated += [place for place, count in replayed.items() if count > 1]
        found.phantom += replayed.keys() - wanted
        if replay_id in world.finished_replays:
            found.lost += sorted(wanted - replayed.keys())
    committed = world.group.committed()
    for source in SOURCES:
        end = facts.lanes[Lane(topic_id, source.partition)].end()
        position = committed.get(source)
        if not reached(position, world.group.low(source), end, topic_id):
            found.uncommitted.append(f"{source}: {position}, its end is {end}")
    return found


def reached(position: Position | None, low: int, end: int, topic_id: str) -> bool:
    """Is everything up to `end` committed? An operator's own reset to the very end may stand, without metadata; and
    where the log has no record any more, nobody has anything to commit."""
    if end == 0 or position is None:
        return end <= low
    return position.offset >= end and (not position.metadata or committed_topic_id(position.metadata) == topic_id)


def _lettered(world: World) -> set[Place]:
    letters: set[Place] = set()
    dlq = TopicPartition(dlq_topic(DATASET), 0)
    for batch in world.group.reader.read(dlq, 0, 10**9):
        letters.update(letter_place(dict(headers)) for headers in batch.headers)
    return letters
