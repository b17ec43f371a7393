"""A replay, carried out: what of it is still missing is read, judged and landed under its id.

    covered = rows of its parts, and letters that name it          (ReplayCoverage: from storage, never from offsets)
    ranges  = [start, until) of the plan without what is covered   (BoundedReplay.ranges)
    batch --> at the times selected? not covered? --> LandRecords --> sealed snapshots, landed as any other

So the first attempt, the one after a crash, the one that fills what a rewind has left, and the repeat that adds nothing
are all the same. The part log keeps even two attempts at once apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from streamlake.domain.errors import PositionLost, TopicMissing, TopicRecreated
from streamlake.domain.model.positions import Offsets
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.replay_plans import PartitionPlan, ReplayPlan
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.model.times import day_of_ms, iso_date
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.land_records import LandRecords
from streamlake.domain.use_cases.raw_zone import RawZone
from streamlake.domain.use_cases.replay_records import Counts

Interval = tuple[int, int]
"""Half-open offsets."""

WORTH_SKIPPING = 50_000
"""Reading over so many covered offsets costs less than to begin reading anew behind them."""


@dataclass(frozen=True, slots=True)
class Covered:
    """What a replay has in storage, by partition: offsets of its rows, and of its letters that are not also rows."""

    landed: Mapping[int, Offsets]
    lettered: Mapping[int, Offsets]

    def of(self, partition: int) -> Offsets:
        """Both together, of one partition."""
        both = Offsets(self.landed.get(partition, ()))
        both.update(self.lettered.get(partition, ()))
        return both

    @property
    def counts(self) -> Counts:
        """As many records as are there."""
        landed = sum(map(len, self.landed.values()))
        lettered = sum(map(len, self.lettered.values()))
        return Counts(landed + lettered, landed, lettered)


class ReplayCoverage:
    """Looks up what a replay has in the raw zone and among the dead letters. Only looks."""

    def __init__(self, zone_of: Callable[[str], RawZone], letters_of: Callable[[str], DeadLetters]) -> None:
        self._zone_of = zone_of
        self._letters_of = letters_of

    def of(self, plan: ReplayPlan) -> Covered:
        """What is there, of this plan's topic id. Raises the errors of log and store, and `PrefixDamaged`."""
        zone = self._zone_of(plan.dataset)
        lanes = {plan.lane(each.partition) for each in plan.partitions}
        rows = zone.landed(lanes, replay_id=plan.replay_id, dates=_dates(zone, plan.request.selection))
        letters = self._letters_of(plan.dataset).ledger().replays.get(plan.replay_id, {})
        landed = {lane.partition: offsets for lane, offsets in rows.items()}
        lettered = {
            lane.partition: _without(offsets, landed.get(lane.partition, Offsets()))
            for lane, offsets in letters.items()
            if lane in lanes
        }
        return Covered(landed, lettered)


def _dates(zone: RawZone, selection: Selection) -> list[str] | None:
    """The prefixes that a selected record can be in; None: all. (ISO dates compare as text.)"""
    if selection.times is None:
        return None
    spans = [(iso_date(day_of_ms(start)), iso_date(day_of_ms(end - 1))) for start, end in selection.times]
    return [date for date in zone.dates() if any(first <= date <= last for first, last in spans)]


class BoundedReplay:
    """One attempt. Holds no thread, clock or connection: it says what to read, is fed, and answers sealed snapshots."""

    def __init__(self, plan: ReplayPlan, covered: Covered, lows: Mapping[int, int], core: LandRecords) -> None:
        """`lows` are the low watermarks now: what is missing below them is in `lost` and not in `ranges`."""
        self._plan = plan
        self._core = core
        self._covered = {each.partition: covered.of(each.partition) for each in plan.partitions}
        self._before = covered.counts
        self._taken = 0
        self.lost: dict[int, Interval] = {}
        """By partition, what may be missing and retention has taken since it was planned."""
        self.ranges = [
            (plan.source(each.partition), start, end)
            for each in plan.partitions
            for start, end in self._missing(each, lows[each.partition])
        ]
        """What has to be read, ascending within a partition."""
        for source, start, _ in reversed(self.ranges):
            core.assign(source, plan.topic_id, start)

    @property
    def selected(self) -> int:
        """Distinct records selected so far, by this attempt or before it."""
        return self._before.selected + self._taken

    @property
    def open_memory(self) -> int:
        """Bytes buffered and not sealed."""
        return self._core.open_memory

    def receive(self, batch: RecordBatch, now: float) -> list[Snapshot]:
        """Take the records of a batch that are selected and missing; batches of one partition come in order."""
        picked = self._plan.request.selection.pick(batch)
        covered = self._covered[batch.source.partition]
        if picked is not None and covered.overlaps(picked.offsets[0], picked.next_offset):
            picked = picked.pick([at for at, offset in enumerate(picked.offsets) if offset not in covered])
        if picked is None:
            return []
        self._taken += len(picked)
        return self._core.receive(picked, now)

    def drain(self, reason: str) -> list[Snapshot]:
        """Seal what is there: at the end, and to free memory."""
        return self._core.drain(reason)

    def settled(self, snapshot: Snapshot) -> None:
        """A snapshot is landed: its parts tell how full the next ones should be."""
        self._core.settled(snapshot)

    def _missing(self, each: PartitionPlan, low: int) -> Iterator[Interval]:
        gaps = self._covered[each.partition].gaps(each.start, each.until)
        below = [(start, min(end, low)) for start, end in gaps if start < low]
        if below:
            self.lost[each.partition] = below[0][0], below[-1][1]
        ahead = [(max(start, low), end) for start, end in gaps if end > low]
        while ahead:
            start, end = ahead.pop(0)
            while ahead and ahead[0][0] - end < WORTH_SKIPPING:
                end = ahead.pop(0)[1]
            yield start, end


def check_topic(plan: ReplayPlan, admin: LogAdmin) -> None:
    """The topic must be the one that was planned for. Raises `TopicMissing`, `TopicRecreated`."""
    found = admin.topics([plan.topic]).get(plan.topic)
    if found is None:
        raise TopicMissing(f"{plan.topic}: does not exist any more")
    if found.topic_id != plan.topic_id:
        raise TopicRecreated(
            f"{plan.topic}: replay {plan.replay_id} is of topic id {plan.topic_id}, it is {found.topic_id} now"
        )


def insist_on(plan: ReplayPlan, lost: Mapping[int, Interval]) -> None:
    """Raises `PositionLost`, with what was lost, if anything was."""
    if lost:
        told = ", ".join(f"partition {p} [{start}, {end})" for p, (start, end) in sorted(lost.items()))
        raise PositionLost(
            f"replay {plan.replay_id}: retention has taken {told} since it was planned; --accept-gap replays the rest"
        )


def _without(offsets: Offsets, others: Offsets) -> Offsets:
    left = Offsets()
    for start, end in offsets:
        left.update(others.gaps(start, end))
    return left
