"""What happens to a world: crashes, stalls, moved partitions, commits out of the past, topics made anew. Then peace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.choices import Choices
from tests.simulation.effects import Fate
from tests.simulation.facts import PARTITIONS, LaneFacts
from tests.simulation.group import GROUP, RAW, SOURCES
from tests.simulation.operator import mend_halts
from tests.simulation.process import ConsumerProcess, Process, ReplayPlan, ReplayProcess
from tests.simulation.verdict import reached

from streamlake.domain.errors import StreamLakeError, TopicMissing
from streamlake.domain.model.positions import Lane, Position

if TYPE_CHECKING:
    from tests.simulation.world import World

_WRITES = frozenset({"create", "replace", "append", "commit"})
_FATES_OF_WRITES = (Fate.FAILED, Fate.LOST, Fate.LATE, Fate.LATE, Fate.LOST)
_STORE = frozenset({"create", "replace", "list", "describe", "read", "folders"})


class Mood:
    """Each world has its own: some kinds of trouble are frequent in it, others absent."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.length = 150 + choices.below(250)
        self.faults = (0.0, 0.03, 0.1, 0.25)[choices.below(4)]
        self.oddness = (0.0, 0.1, 0.3)[choices.below(3)]
        self.unrest = (0.03, 0.08, 0.15)[choices.below(3)]
        self.happenings = [each for each in HAPPENINGS if choices.chance(0.7)]

    def fate(self, kind: str) -> Fate:
        """What becomes of an effect."""
        luck = self._choices.draw()
        if luck < 1.0 - self.faults:
            return Fate.DONE
        if kind in _WRITES:
            return _FATES_OF_WRITES[self._choices.below(5)]
        return Fate.DENIED if kind in _STORE and self._choices.chance(0.1) else Fate.FAILED


def happen(world: World) -> None:
    """One thing out of what this world knows."""
    happenings = world.mood.happenings
    if happenings:
        happenings[world.choices.below(len(happenings))](world)


def crash(world: World) -> None:
    """kill -9. What it had asked for may never happen, or some time later; its partitions go to others, or wait."""
    process = _anyone(world)
    world.facts.count("crashes")
    world.tell(f"{process.name} is killed")
    for task in process.tasks:
        if not task.answered and task.kind in _WRITES and world.choices.chance(0.5):
            world.late.append((f"{process.name}: {task.kind} {task.target}", task.apply, task.arguments))
    world.end(process)
    if isinstance(process, ReplayProcess):
        world.start_replay(process.plan)
        return
    successor = world.start_consumer()
    world.tell(f"{successor.name} is started")
    for source, owner in list(world.group.target.items()):
        if owner is process:
            world.group.move(source, _consumer(world), by_force=True)


def stall(world: World) -> None:
    """SIGSTOP, in the middle of whatever it does; others may take its partitions meanwhile."""
    process = _anyone(world)
    process.stalled_until = world.steps + 10 + world.choices.below(80)
    world.facts.count("stalls")
    world.tell(f"{process.name} is stopped until step {process.stalled_until}")
    if world.choices.chance(0.7):
        for source, owner in list(world.group.target.items()):
            if owner is process:
                world.group.move(source, _consumer(world), by_force=True)


def rebalance(world: World) -> None:
    """A partition moves: gently, or while its owner still believes in it."""
    source = SOURCES[world.choices.below(PARTITIONS)]
    to, by_force = _consumer(world), world.choices.chance(0.5)
    if by_force and world.group.holder[source] is not to:
        world.facts.count("double owners")
    world.tell(f"{source} moves to {to.name}{' by force' if by_force else ''}")
    world.group.move(source, to, by_force=by_force)


def terminate(world: World) -> None:
    """SIGTERM: it drains, commits and leaves; another is started."""
    process = _consumer(world)
    if process.stopping:
        return
    process.stopping = True
    successor = world.start_consumer()
    world.tell(f"{process.name} is asked to stop, {successor.name} is started")
    for source, owner in list(world.group.target.items()):
        if owner is process:
            world.group.move(source, successor, by_force=False)


def produce(world: World) -> None:
    """Records come."""
    world.tell("records come")
    if _topic_there(world):
        world.produce(1 + world.choices.below(12))


def deliver(world: World) -> None:
    """A request that everybody has forgotten arrives."""
    if world.late:
        arrive(world, world.choices.below(len(world.late)))


def arrive(world: World, number: int) -> None:
    """A late request is applied; nobody hears the answer."""
    told, apply, arguments = world.late.pop(number)
    world.facts.count("late applied")
    world.tell(f"late: {told}")
    try:
        apply(*arguments)
    except StreamLakeError as refused:
        world.tell(f"    {type(refused).__name__}")


def stale_commit(world: World) -> None:
    """A commit out of the past is applied (again): positions go back."""
    history = world.group.history
    if history:
        asked = history[world.choices.below(len(history))]
        before = world.group.committed()
        try:
            world.group.apply(asked)
        except TopicMissing:
            return
        if any(before[source].offset > at.offset for source, at in asked.items() if source in before):
            world.facts.count("regressed commits")
        world.tell(f"a stale member commits {' '.join(f'{s.partition}:{p.offset}' for s, p in asked.items())}")


def reset(world: World) -> None:
    """An operator's reset, without metadata: back, to the same place (most often: there every row and letter below
    counts), to the start, or ahead."""
    if not _topic_there(world):
        return
    source = SOURCES[world.choices.below(PARTITIONS)]
    lane = Lane(world.group.topic_id(), source.partition)
    marks = world.group.admin.watermarks([source])[source]
    committed = world.group.committed().get(source)
    now = min(max(committed.offset if committed else 0, marks.low), marks.high)
    way = world.choices.below(6)
    back = marks.low + world.choices.below(now - marks.low + 1)
    target = (back, now, marks.low, now + world.choices.below(marks.high - now + 1), now, now)[way]
    ahead = target > world.facts.lanes[lane].advance()  # of what is landed: a stale commit may be ahead of it too
    if ahead:
        _ahead(world.facts.lanes[lane], target)
    world.facts.count("resets ahead" if ahead else "resets back")
    world.tell(f"an operator resets {source} to {target}")
    world.group.admin.alter_group_offsets(GROUP, {source: Position(target)})


def forget_group(world: World) -> None:
    """The group expires: its offsets are gone."""
    committed = dict(world.group.committed())
    if committed and _topic_there(world):
        world.facts.count("expired groups")
        world.tell("the group's offsets expire")
        world.group.expire()


def recreate(world: World) -> None:
    """The raw topic is deleted and made anew, at once or later, the group's offsets deleted with it or not."""
    if not _topic_there(world):
        world.create_topic()
        world.tell(f"the topic is created: {world.group.topic_id()}")
        return
    if world.facts.counts.get("recreated topics", 0) >= 2 or world.choices.chance(0.5):
        return
    world.facts.count("recreated topics")
    world.facts.gone.add(world.group.topic_id())
    committed = dict(world.group.committed())
    world.log.delete_topic(RAW)
    world.tell("the topic is deleted")
    if world.choices.chance(0.7):
        world.create_topic()
        world.unproduced += 15
        world.produce(world.choices.below(25))
        world.tell(f"the topic is created: {world.group.topic_id()}")
        if world.choices.chance(0.5):
            world.tell("the group's offsets are still there")
            world.group.admin.alter_group_offsets(GROUP, committed)
            for source, position in committed.items():
                if not position.metadata:
                    _ahead(world.facts.lanes[Lane(world.group.topic_id(), source.partition)], position.offset)


def trim(world: World) -> None:
    """Retention: what was committed long ago is no more."""
    if not _topic_there(world):
        return
    source = SOURCES[world.choices.below(PARTITIONS)]
    facts = world.facts.lanes[Lane(world.group.topic_id(), source.partition)]
    low = world.group.admin.watermarks([source])[source].low
    before = low + world.choices.below(max(0, facts.advance() - low) + 1)
    if before > low:
        facts.disturbed = True
        world.facts.count("trims")
        world.tell(f"retention drops {source} below {before}")
        world.log.trim(source, before)


def replay(world: World) -> None:
    """A bounded replay of a range begins beside live landing; or a second process carries out one that runs already."""
    if not _topic_there(world) or len(world.replays) >= 3:
        return
    if world.replays and world.choices.chance(0.3):
        replay_id = sorted(world.replays)[world.choices.below(len(world.replays))]
        world.tell(f"{replay_id} is carried out once more")
        world.start_replay(world.replays[replay_id])
        return
    source = SOURCES[world.choices.below(PARTITIONS)]
    marks = world.group.admin.watermarks([source])[source]
    start = marks.low + world.choices.below(max(1, (marks.high - marks.low) // 2))
    lane = Lane(world.group.topic_id(), source.partition)
    plan = ReplayPlan(f"replay-{len(world.replays) + 1}", lane, start, marks.high)
    world.facts.count("replays")
    world.tell(f"{plan.replay_id} of {source} [{plan.start}, {plan.until})")
    world.start_replay(plan)


def time_passes(world: World) -> None:
    """Nothing happens for a while."""
    world.clock.seconds += (2, 11, 31, 61)[world.choices.below(4)]
    world.tell("time passes")


HAPPENINGS: list[Callable[[World], None]] = [
    produce,
    time_passes,
    crash,
    stall,
    rebalance,
    deliver,
    stale_commit,
    reset,
    replay,
    terminate,
    recreate,
    trim,
    forget_group,
]


def make_peace(world: World) -> None:
    """Faults end. What is late arrives, everybody wakes up, everything is produced, each partition has one owner."""
    world.peace = True
    world.tell("peace")
    world.create_topic()
    while world.late:
        arrive(world, world.choices.below(len(world.late)))
    world.produce(world.unproduced)
    for process in world.processes:
        process.stalled_until = 0
    living = [each for each in world.consumers if not each.stopping]
    while len(living) < 2:
        living.append(world.start_consumer())
    world.group.strict = True
    for number, source in enumerate(SOURCES):
        world.group.move(source, living[number % len(living)], by_force=world.group.target[source] not in living)
    world.last_regress = world.choices.chance(0.5)


def at_rest(world: World) -> bool:
    """Is everything landed and committed? Looks after halts on the way; and once regresses commits a last time."""
    mend_halts(world)
    topic_id = world.group.topic_id()
    committed = world.group.committed()
    for source in SOURCES:
        end = world.facts.lanes[Lane(topic_id, source.partition)].end()
        if not reached(committed.get(source), world.group.low(source), end, topic_id):
            return False
    if any(isinstance(each, ReplayProcess) for each in world.processes) or not all(e.idle for e in world.consumers):
        return False
    if world.last_regress:
        world.last_regress = False
        stale_commit(world)
        return False
    return True


def _ahead(facts: LaneFacts, target: int) -> None:
    """The group may start here beyond what is landed: that is a gap with a cause."""
    facts.reset_to = max(facts.reset_to, target)
    facts.disturbed = True


def _topic_there(world: World) -> bool:
    return RAW in world.group.admin.topics([RAW])


def _anyone(world: World) -> Process:
    return world.processes[world.choices.below(len(world.processes))]


def _consumer(world: World) -> ConsumerProcess:
    able = [each for each in world.consumers if not each.stopping]
    return able[world.choices.below(len(able))]
