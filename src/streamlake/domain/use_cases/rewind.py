"""Rewinds: the group of a dataset put back, so that its own consumers land a range again and then go on live.

    stopping   consumers stand by; the group empties
    reset      where each partition goes on afterwards is known and stored; the group's offsets are being altered
    rewriting  the group's offsets carry the replay; consumers land it and jump to where they were
    released   nobody has the group; the next rewind may take it

One per dataset: `ops/rewind/<dataset>.json` is taken, moved on and released by compare-and-swap. Whoever is interrupted
finds there how far it was. Whether the replay is complete is not asked here, but of storage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamlake.domain.errors import GenerationChanged, ObjectMissing, PositionLost, ReplayRefused
from streamlake.domain.model.contracts import consumer_group
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.model.snapshots import ReplayBlock, commit_metadata, committed_replay, committed_topic_id
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.use_cases.start_positions import Gap, StartPositions

STOPPING, RESET, REWRITING, RELEASED = "stopping", "reset", "rewriting", "released"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RewindState:
    """Who has a dataset's group, and how far it is. `blocks` by partition, once they are known."""

    dataset: str
    replay_id: str
    state: str
    by: str
    at: str
    blocks: Mapping[int, ReplayBlock] = field(default_factory=dict)
    generation: int = 0

    @property
    def held(self) -> bool:
        """Is the group somebody's?"""
        return self.state != RELEASED


class RewindStates:
    """Reads and moves them. Errors of every method: the store's."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def find(self, dataset: str) -> RewindState | None:
        """As it is stored; None where there never was a rewind."""
        name = _name(dataset)
        try:
            info, body = self._store.read(name)
        except ObjectMissing:
            return None
        try:
            told = json.loads(body)
            blocks = {
                int(p): ReplayBlock(told["replay_id"], b["until"], b["resume"]) for p, b in told["blocks"].items()
            }
            return RewindState(
                dataset, told["replay_id"], told["state"], told["by"], told["at"], blocks, info.generation
            )
        except (ValueError, KeyError, TypeError) as malformed:
            raise ReplayRefused(f"{name}: cannot be read ({malformed})") from None

    def take(self, plan: ReplayPlan, by: str, at: str) -> RewindState:
        """Take the dataset's group for a replay, or go on where it was. Raises `ReplayRefused` where another has it."""
        found = self.find(plan.dataset)
        if found is not None and found.held:
            if found.replay_id != plan.replay_id:
                raise ReplayRefused(
                    f"{plan.dataset}: is being rewound for replay {found.replay_id} since {found.at};"
                    f" `streamlake replay resume {found.replay_id}` completes it, `streamlake replay abort"
                    f" {found.replay_id}` ends it"
                )
            return found
        generation = found.generation if found is not None else 0
        return self.move(RewindState(plan.dataset, plan.replay_id, STOPPING, by, at, {}, generation))

    def move(self, to: RewindState) -> RewindState:
        """Store it, if nobody else has since. Raises `ReplayRefused` where somebody has."""
        told = {
            "v": VERSION,
            "replay_id": to.replay_id,
            "state": to.state,
            "by": to.by,
            "at": to.at,
            "blocks": {str(p): {"until": b.until, "resume": b.resume} for p, b in sorted(to.blocks.items())},
        }
        body = json.dumps(told, indent=1).encode()
        try:
            written = self._store.replace(
                _name(to.dataset), body, content_type="application/json", if_generation=to.generation
            )
        except GenerationChanged:
            found = self.find(to.dataset)
            if found is not None and replace(found, generation=to.generation) == to:
                return found  # it was this very write, and its answer was lost
            raise ReplayRefused(f"{to.dataset}: its rewind is being carried out by somebody else just now") from None
        return replace(to, generation=written.generation)


class Rewind:
    """The group's offsets of one dataset, there and back. Raises the log's errors, `GroupActive` among them."""

    def __init__(self, dataset: str, admin: LogAdmin, starts: StartPositions) -> None:
        self._group = consumer_group(dataset)
        self._admin = admin
        self._starts = starts

    def members(self) -> list[str] | None:
        """Who is in the group; None where it is empty."""
        info = self._admin.group(self._group)
        return None if info.state in ("Empty", "Dead") else list(info.members) or [info.state]

    def blocks(self, plan: ReplayPlan) -> dict[int, ReplayBlock]:
        """Where each partition goes on afterwards: where the group is, or where it would begin. A partition of which
        nothing before that is to be replayed is left out.

        Raises `PositionLost` where one would not begin at all: that has to be mended first.
        """
        sources = [plan.source(each.partition) for each in plan.partitions if each.start < each.until]
        marks = self._admin.watermarks(sources)
        committed = self._admin.group_offsets(self._group, sources)
        starts = self._starts.begin()
        blocks = {}
        for source in sources:
            each = plan.of(source.partition)
            found = committed.get(source)
            old = None if found is None else committed_replay(found.metadata)
            if old is not None:
                resume = old.resume
            else:
                start = starts.decide(source, plan.topic_id, marks[source], found)
                if isinstance(start, Gap):
                    raise PositionLost(str(start))
                resume = start.offset
            if each is not None and each.start < min(each.until, resume):
                blocks[source.partition] = ReplayBlock(plan.replay_id, min(each.until, resume), resume)
        return blocks

    def reset(self, plan: ReplayPlan, blocks: Mapping[int, ReplayBlock]) -> bool:
        """Put the group to the start of the replay, all partitions or none; False where it did not stay there."""
        wanted = {}
        for partition, block in blocks.items():
            each = plan.of(partition)
            if each is not None:
                wanted[plan.source(partition)] = Position(each.start, commit_metadata(plan.topic_id, replay=block))
        return self._alter(wanted)

    def put_back(self, plan: ReplayPlan, blocks: Mapping[int, ReplayBlock]) -> bool:
        """Put what is still rewound to where it goes on; what has gone on already is left alone."""
        still = self.rewound(plan, blocks)
        return self._alter({plan.source(p): Position(blocks[p].resume, commit_metadata(plan.topic_id)) for p in still})

    def rewound(self, plan: ReplayPlan, blocks: Mapping[int, ReplayBlock]) -> dict[int, int]:
        """The partitions whose committed position still carries this replay, with that position."""
        sources = [plan.source(partition) for partition in blocks]
        found = {}
        for source, position in self._admin.group_offsets(self._group, sources).items():
            if committed_topic_id(position.metadata) == plan.topic_id:
                block = committed_replay(position.metadata)
                if block is not None and block.replay_id == plan.replay_id:
                    found[source.partition] = position.offset
        return found

    def _alter(self, wanted: Mapping[TopicPartition, Position]) -> bool:
        if not wanted:
            return True
        self._admin.alter_group_offsets(self._group, wanted)
        return dict(self._admin.group_offsets(self._group, sorted(wanted))) == dict(wanted)


def _name(dataset: str) -> str:
    return f"ops/rewind/{dataset}.json"
