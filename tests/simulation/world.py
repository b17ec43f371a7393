"""A world: a log, a bucket, a group, and processes that a seeded scheduler runs, breaks, and leaves in peace.

chaos   every step either something happens to the world, or one process gets on by one effect
peace   faults end, everybody lives, partitions have one owner each; the world must converge
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.simulation import unrest
from tests.simulation.choices import Choices
from tests.simulation.effects import Fate, Task
from tests.simulation.facts import (
    BAD,
    DATASET,
    DAYS,
    DISPUTED,
    GOOD,
    MARKER,
    NO_DATE,
    PARTITIONS,
    Broken,
    Facts,
    LaneFacts,
)
from tests.simulation.facts import payload as payload_of
from tests.simulation.group import RAW, SOURCES, Group
from tests.simulation.process import (
    Character,
    ConsumerProcess,
    Process,
    ReplayPlan,
    ReplayProcess,
    SimulatedClock,
    Surroundings,
)
from tests.simulation.verdict import Verdict, verdict
from tests.simulation.witness import Witness

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import (
    AccessDenied,
    LogUnavailable,
    NotStored,
    OutcomeUnknown,
    StoreUnavailable,
    StreamLakeError,
)
from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.positions import Lane
from streamlake.domain.model.records import NO_TIMESTAMP, OutgoingRecord
from streamlake.domain.ports.event_log import TopicSpec
from streamlake.domain.use_cases.land_records import LandingLimits

PROCESSES = 3
UNBOUNDED = 10**9
STEP_S = 0.1
QUIET_S = 8.0
"""How long a step of peace takes where nobody has anything to do but poll."""

PATIENCE = 8_000
"""Steps of peace within which everything must have landed and be committed."""

_STORE_READS = frozenset({"list", "describe", "read", "folders"})
_STORE_WRITES = frozenset({"create", "replace"})


class World:
    """One seed's world."""

    def __init__(self, choices: Choices, *, told: list[str] | None = None) -> None:
        self.choices = choices
        self.told = told
        """Where the story goes, if anybody wants it."""
        self.steps = 0
        self.facts = Facts()
        self.late: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []
        """Requests on their way that nobody waits for."""
        self.processes: list[Process] = []
        self.replays: dict[str, ReplayPlan] = {}
        self.finished_replays: set[str] = set()
        self.peace = False
        self.last_regress = False
        self._turn = 0
        self._awake = 0
        self._quiet = 0
        self._names = 0
        random.seed(choices.seed)  # the daemon's jitter
        clock, log, bucket = SimulatedClock(), MemoryEventLog(SimulatedClock()), MemoryObjectStore()
        self.first_number = 9_997 if choices.chance(0.25) else 1
        self.mood = unrest.Mood(choices)
        self.narrow = choices.seed % 5 == 1
        """May processes have so little room that they pause, and forget prefixes?"""
        witness = Witness(self.facts, self.first_number)
        group = Group(log, self.facts, witness, choices)
        self.around = Surroundings(clock, log, bucket, group, witness)
        self.clock, self.log, self.group, self.witness = clock, log, group, witness
        self._writer = log.writer()
        group.admin.create_topic(TopicSpec(dlq_topic(DATASET), 1, 1))
        self.unproduced = 60 + choices.below(12)
        self.create_topic()
        self.produce(self.unproduced // 2)
        for _ in range(PROCESSES):
            self.start_consumer()
        for number, source in enumerate(SOURCES):
            group.target[source] = self.consumers[number % PROCESSES]

    @property
    def consumers(self) -> list[ConsumerProcess]:
        """The consumers alive."""
        return [each for each in self.processes if isinstance(each, ConsumerProcess) and each.alive]

    def run(self) -> Verdict:
        """Chaos, then peace, then the verdict."""
        try:
            for _ in range(self.mood.length):
                self.step()
            unrest.make_peace(self)
            for _ in range(PATIENCE):
                self.step()
                if self.steps % 16 == 0 and unrest.at_rest(self):
                    break
            return verdict(self)
        except Broken as broken:
            return Verdict(broken=str(broken))
        finally:
            for process in [*self.processes]:
                self.end(process)  # a task that is left suspended is never collected, nor what it holds

    # The scheduler

    def step(self) -> None:
        """One decision."""
        self.steps += 1
        self.clock.seconds += QUIET_S if self._quiet > 6 else STEP_S
        if not self.peace and self.choices.chance(self.mood.unrest):
            unrest.happen(self)
            return
        task = self._pick()
        if task is None:
            self.clock.seconds += 1
        elif task.answered or task.kind == "wait" or task.kind == "start":
            self._go_on(task)
        else:
            self._decide(task)

    def _pick(self) -> Task | None:
        tasks = [
            task
            for process in self.processes
            if process.stalled_until <= self.steps
            for task in process.tasks
            if task.answered or task.kind != "wait" or (task.ready is not None and task.ready())
        ]
        if not tasks:
            return None
        if self.peace:
            self._turn += 1
            if self._turn % 8 == 0 and (sleeper := self._sleeper()):
                return sleeper
            # Counted apart, or of eight tasks the first would never have its turn.
            self._awake += 1
            busy = [task for task in tasks if task.kind != "poll"] if self._awake % 2 else []
            return (busy or tasks)[self._awake // 2 % len(busy or tasks)]
        self._turn += 1 + self.choices.below(len(tasks))
        return tasks[self._turn % len(tasks)]

    def _sleeper(self) -> Task | None:
        """A task that waits with a timeout: it passes."""
        asleep = [task for process in self.processes for task in process.tasks if task.kind == "wait"]
        return asleep[self._turn // 8 % len(asleep)] if asleep else None

    def _decide(self, task: Task) -> None:
        kind = task.kind
        fate = Fate.DONE if self.peace else self.mood.fate(kind)
        if self.peace:
            self._quiet = self._quiet + 1 if kind == "poll" else 0
        if self.told is not None and not (self.peace and kind == "poll"):
            self.tell(f"{task.process.name} {task.name}: {kind} {task.target} -> {fate.value}")
        if fate is Fate.DONE:
            self._apply(task)
            if self.peace or self.choices.chance(0.6):
                self._go_on(task)
            return
        self.facts.count(fate.name.lower())
        if fate is Fate.LOST:
            self._apply(task)
        elif fate is Fate.LATE:
            self.late.append((f"{task.process.name}: {kind} {task.target}", task.apply, task.arguments))
        self._fail(task, fate)
        self._go_on(task)

    def _apply(self, task: Task) -> None:
        task.answered = True
        try:
            task.answer = task.apply(*task.arguments)
        except StreamLakeError as fault:
            task.fault = fault
            if self.told is not None:
                self.tell(f"    {type(fault).__name__}")
            if task.kind == "create":
                self.facts.count("conflicts")

    def _fail(self, task: Task, fate: Fate) -> None:
        """What the process is told instead."""
        task.answered, task.answer, task.fault = True, None, None
        kind = task.kind
        if kind == "append":
            [records] = task.arguments
            if fate is Fate.FAILED and len(records) > 1:
                task.answer = task.apply(records, self.choices.below(len(records)))
            else:
                fault = NotStored("simulated") if fate is Fate.FAILED else OutcomeUnknown("simulated")
                task.answer = [fault] * len(records)
        elif fate is Fate.DENIED:
            task.fault = AccessDenied("simulated")
        elif kind in _STORE_READS or kind in _STORE_WRITES:
            task.fault = StoreUnavailable("simulated")
        else:
            task.fault = LogUnavailable("simulated")

    def _go_on(self, task: Task) -> None:
        task.go_on()
        if task.dead:
            task.process.tasks.remove(task)
            process = task.process
            if isinstance(process, ReplayProcess) and process.finished:
                self.finished_replays.add(process.plan.replay_id)
            if not process.tasks or not process.alive:
                self.end(process)

    # What unrest and peace are made of

    def tell(self, what: str) -> None:
        """A line of the story."""
        if self.told is not None:
            self.told.append(f"{self.steps:5} {self.clock.seconds:7.1f}s  {what}")

    def end(self, process: Process) -> None:
        """Kill a process where it is. What it has asked for may still happen: see `unrest.crash`."""
        process.alive = False
        for task in process.tasks:
            if not task.dead:
                task.throw()
        process.tasks = []
        self.group.gone(process)
        if process in self.processes:
            self.processes.remove(process)

    def create_topic(self) -> None:
        """The raw topic, new and empty."""
        if self.group.admin.create_topic(TopicSpec(RAW, PARTITIONS, 1)):
            topic_id = self.group.topic_id()
            for number in range(PARTITIONS):
                lane = Lane(topic_id, number)
                self.facts.lanes[lane] = LaneFacts(lane, second_life=bool(self.facts.gone))

    def produce(self, count: int) -> None:
        """Records come, of days that interleave."""
        topic_id = self.group.topic_id()
        chance, below = self.choices.chance, self.choices.below
        records = []
        for _ in range(min(count, self.unproduced)):
            self.unproduced -= 1
            facts = self.facts.lanes[Lane(topic_id, below(PARTITIONS))]
            kind = (BAD, DISPUTED, NO_DATE, MARKER)[below(4)] if chance(self.mood.oddness) else GOOD
            offset, partition = len(facts.kinds), facts.lane.partition
            value = payload_of(kind, topic_id, partition, offset)
            facts.kinds.append(kind)
            facts.days.append(below(DAYS))
            facts.payloads.append(value)
            timestamp = NO_TIMESTAMP if kind == NO_DATE else facts.timestamp(offset)
            headers = (("ingestion_id", b"id"), ("ingested_at", b"then"))
            records.append(OutgoingRecord(RAW, b"key", value, headers, timestamp, partition))
        self._writer.append_and_wait(records)

    def start_consumer(self) -> ConsumerProcess:
        """A consumer process as a deployment would start it."""
        process = ConsumerProcess(self._name("C"), self.around, self._character())
        self.processes.append(process)
        return process

    def start_replay(self, plan: ReplayPlan) -> None:
        """A process that carries out a plan."""
        self.replays[plan.replay_id] = plan
        self.processes.append(ReplayProcess(self._name("R"), self.around, self._character(), plan))

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"

    def _character(self) -> Character:
        below = self.choices.below
        limits = LandingLimits((UNBOUNDED, 1200)[below(2)], (6, 3, 1, 10, 20)[below(5)], (2.0, 0.3, 10.0)[below(3)])
        return Character(
            lenient=not below(2),
            form=("json", "jsonl")[below(2)],
            limits=limits,
            max_part_bytes=(UNBOUNDED, 900)[below(2)],
            poll_records=(5, 2, 1, 12)[below(4)],
            page=(1000, 2)[below(2)],
            first_number=self.first_number,
            memory_budget=(UNBOUNDED, 3_000, 6_000)[below(3)] if self.narrow else UNBOUNDED,
            max_prefixes=(DAYS, 1, 2)[below(3)] if self.narrow else DAYS,
        )
