"""Landing with rewound partitions: below the end of its range such a one lands for a replay, then it goes on live.

    commit carries a replay, position < until --> rewind(): selected records go to the replay's own LandRecords
    position >= until, all of it landed       --> ended(): commit (resume, live metadata), and read on from there

Everything else is LandRecords' own: whoever polls need not know which partitions are rewound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streamlake.domain.errors import OperatorFault, ReplayRefused
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.replay_plans import REWIND, ReplayPlan
from streamlake.domain.model.snapshots import ReplayBlock, Snapshot, commit_metadata
from streamlake.domain.use_cases.land_records import LandRecords

QUIET_S = 2.0
"""Silent for so long, a rewound partition may be at the end of its range without a record to tell."""


@dataclass(slots=True)
class _Back:
    """A rewound partition: where it is, up to where records of it were buffered, and up to where they have landed."""

    plan: ReplayPlan
    block: ReplayBlock
    position: int
    heard: float
    taken: int = 0
    landed: int = 0

    @property
    def done(self) -> bool:
        return self.position >= self.block.until and self.landed >= self.taken


class Rewinding:
    """`LandRecords` of live records and of a replay's. One thread only."""

    def __init__(self, live: LandRecords, core_of: Callable[[str], LandRecords]) -> None:
        self._live = live
        self._core_of = core_of
        self._cores: dict[str, LandRecords] = {}
        self._back: dict[TopicPartition, _Back] = {}

    @property
    def open_memory(self) -> int:
        """Bytes buffered and not sealed."""
        return self._live.open_memory + sum(core.open_memory for core in self._cores.values())

    @property
    def opened_at(self) -> float | None:
        """When the oldest record not sealed came (monotonic seconds)."""
        opened = [self._live.opened_at, *(core.opened_at for core in self._cores.values())]
        return min((at for at in opened if at is not None), default=None)

    @property
    def rewound(self) -> dict[TopicPartition, ReplayBlock]:
        """The partitions that land for a replay just now."""
        return {source: back.block for source, back in self._back.items()}

    def assign(self, source: TopicPartition, topic_id: str, start: int) -> list[Snapshot]:
        """This partition is read from `start` on, live."""
        self._forget_replay([source])
        return self._live.assign(source, topic_id, start)

    def rewind(
        self, source: TopicPartition, plan: ReplayPlan, block: ReplayBlock, start: int, now: float
    ) -> list[Snapshot]:
        """This partition is read from `start` on, for a replay. Raises `ReplayRefused` where plan and block do not go
        together."""
        each = plan.of(source.partition)
        if plan.request.mode != REWIND or plan.topic != source.topic or each is None or block.until > each.until:
            raise ReplayRefused(
                f"{source}: is committed for replay {block.replay_id} up to {block.until}; that is not its plan"
            )
        self._live.forget([source])
        core = self._cores.setdefault(block.replay_id, self._core_of(block.replay_id))
        self._back[source] = _Back(plan, block, start, now)
        return core.assign(source, plan.topic_id, start)

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """These are no longer ours, or are read again."""
        gone = list(sources)
        self._live.forget(gone)
        self._forget_replay(gone)

    def receive(self, batch: RecordBatch, now: float) -> list[Snapshot]:
        """Take records in; returns the snapshots that became full on the way."""
        back = self._back.get(batch.source)
        if back is None:
            return self._live.receive(batch, now)
        back.heard = now
        back.position = max(back.position, batch.next_offset)
        core = self._cores[back.block.replay_id]
        within = batch.pick(range(bisect_left(batch.offsets, back.block.until)))
        picked = None if within is None else back.plan.request.selection.pick(within)
        sealed = []
        if picked is not None:
            back.taken = picked.next_offset
            sealed = core.receive(picked, now)
        return sealed + (core.drain("rewound") if back.position >= back.block.until else [])

    def tick(self, now: float) -> list[Snapshot]:
        """Seal what is old enough, though nothing new came."""
        return [*self._live.tick(now), *(snapshot for core in self._cores.values() for snapshot in core.tick(now))]

    def drain(self, reason: str) -> list[Snapshot]:
        """Seal what is there."""
        replays = (snapshot for core in self._cores.values() for snapshot in core.drain(reason))
        return [*self._live.drain(reason), *replays]

    def settled(self, snapshot: Snapshot) -> dict[TopicPartition, Position]:
        """The snapshot is landed: what of it may be committed now, a replay's with the replay."""
        if snapshot.replay_id is None:
            return self._live.settled(snapshot)
        positions = {}
        for source, position in self._cores[snapshot.replay_id].settled(snapshot).items():
            back = self._back[source]
            back.landed = position.offset
            positions[source] = Position(position.offset, commit_metadata(back.plan.topic_id, replay=back.block))
        return positions

    def still_owned(self, snapshot: Snapshot) -> list[TopicPartition]:
        """The partitions of a snapshot that are owned, without a break, since it was filled."""
        return self._core(snapshot).still_owned(snapshot)

    def halted(self, snapshot: Snapshot) -> dict[TopicPartition, OperatorFault]:
        """The partitions that landing took out of a snapshot, and why, as far as they are owned without a break."""
        return self._core(snapshot).halted(snapshot)

    def quiet(self, now: float) -> list[tuple[TopicPartition, int, int]]:
        """Rewound partitions that have brought nothing for a while: from where to where there may be nothing left."""
        found = []
        for source, back in self._back.items():
            if back.position < back.block.until and now - back.heard >= QUIET_S:
                back.heard = now
                found.append((source, back.position, back.block.until))
        return found

    def reached(self, source: TopicPartition, position: int) -> list[Snapshot]:
        """There is no record below `position` any more."""
        back = self._back[source]
        back.position = max(back.position, position)
        return self._cores[back.block.replay_id].drain("rewound")

    def ended(self) -> dict[TopicPartition, Position]:
        """Rewound partitions that have landed all of their range: what to commit, and from where to go on live."""
        return {source: self._live_position(back) for source, back in self._back.items() if back.done}

    def give_up(self, source: TopicPartition) -> Position:
        """The replay of this partition is aborted: what to commit, and from where to go on live."""
        return self._live_position(self._back[source])

    def _core(self, snapshot: Snapshot) -> LandRecords:
        return self._live if snapshot.replay_id is None else self._cores[snapshot.replay_id]

    def _live_position(self, back: _Back) -> Position:
        return Position(back.block.resume, commit_metadata(back.plan.topic_id))

    def _forget_replay(self, sources: Iterable[TopicPartition]) -> None:
        for source in sources:
            back = self._back.pop(source, None)
            if back is not None:
                self._cores[back.block.replay_id].forget([source])
