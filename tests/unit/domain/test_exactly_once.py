"""Everything at once, in miniature: several processes over one log and one bucket, and whatever goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.faults import Fault, FaultyStore, FaultyWriter
from tests.unit.domain.verdict import Verdict, check_chain, verdict
from tests.unit.domain.worlds import (
    BAD,
    DATASET,
    DATE,
    GOOD,
    NEXT_DATE,
    NOW,
    P0,
    P1,
    T0,
    TOPIC_ID,
    Catalog,
    contract,
    lettered_offsets,
    open_log,
    part_logs,
)

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import NotStored, OutcomeUnknown, WorldFault
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots

LIMITS = LandingLimits(max_bytes=2000, max_records=6, max_age_s=60)
DEBATABLE = b"{}"
"""Bad for the strict contract, good for the lenient one: a deploy is under way."""

PROCESSES = 3


def lenient(payload: bytes) -> Mapping[str, object]:
    """Take what the strict contract takes, and the debatable."""
    return {} if payload == DEBATABLE else STRICT.parse(payload)


STRICT = contract()
LENIENT = replace(STRICT, parse=lenient)


class World:
    """The log, the bucket, the committed positions."""

    def __init__(self, records: list[tuple[bool, bytes, int]]) -> None:
        self.log = open_log()
        made = [
            OutgoingRecord(source.topic, b"k", value, [], T0 + days * DAY_MS, source.partition)
            for second, value, days in records
            for source in [P1 if second else P0]
        ]
        self.log.writer().append_and_wait(made)
        self.store = FaultyStore(MemoryObjectStore())
        self.writer = FaultyWriter(self.log.writer())
        self.committed = {P0: 0, P1: 0}
        marks = self.log.admin().watermarks([P0, P1])
        self.places = {(source.partition, offset) for source in marks for offset in range(marks[source].high)}

    def commit(self, source: TopicPartition, offset: int) -> None:
        """Take any commit, as a broker that knows no generations would; but it must be true."""
        below = {place for place in self.places if place[0] == source.partition and place[1] < offset}
        assert verdict(below, self.store, lettered_offsets(self.log)).lost == []
        self.committed[source] = offset


class Process:
    """A consumer as far as the domain goes; `crash` forgets everything."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._contract = LENIENT if number == PROCESSES - 1 else STRICT
        self._part_bytes = 700 + 800 * number
        self.crash()

    def crash(self) -> None:
        world = self._world
        self._core = LandRecords(DATASET, Catalog(self._contract), LIMITS)
        logs = part_logs(world.store, max_part_bytes=self._part_bytes)
        self._landing = LandSnapshots(DATASET, world.log.admin(), world.writer, logs)
        self._sealed: list[Snapshot] = []
        self._settled: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        for source in (P0, P1):
            self.assign(source)

    def assign(self, source: TopicPartition) -> None:
        """It comes to us (again), whoever else may hold it."""
        self._core.forget([source])
        self._settled.pop(source, None)
        self._next[source] = self._world.committed[source]
        self._sealed += self._core.assign(source, TOPIC_ID, self._next[source])

    def read(self, source: TopicPartition, count: int) -> None:
        start = self._next[source]
        for batch in self._world.log.reader().read(source, start, start + count):
            self._next[source] = batch.next_offset
            self._sealed += self._core.receive(batch, 0)

    def seal(self) -> None:
        self._sealed += self._core.drain("test")

    def land(self) -> None:
        """One attempt at the oldest snapshot, of what is open if none waits."""
        if not self._sealed:
            self.seal()
        if self._sealed:
            self._landing.land(self._sealed[0], NOW)
            done = self._core.settled(self._sealed.pop(0))
            self._settled |= {source: position.offset for source, position in done.items()}

    def commit(self) -> None:
        for source, offset in self._settled.items():
            self._world.commit(source, offset)

    def finish(self) -> None:
        """Nothing goes wrong any more."""
        for source in (P0, P1):
            self.read(source, 1000)
        self.seal()
        while self._sealed:
            self.land()
        self.commit()


@dataclass(frozen=True)
class Step:
    """What one process does next, and what goes wrong with it."""

    process: int
    does: Literal["read", "seal", "land", "commit", "crash", "assign", "arrive"]
    second: bool
    count: int
    store_fault: tuple[int, Fault] | None
    writer_fault: tuple[int, bool] | None


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, PROCESSES - 1),
        st.sampled_from(
            ["read", "read", "read", "land", "land", "land", "commit", "commit", "seal", "crash", "assign", "arrive"]
        ),
        st.booleans(),
        st.integers(1, 8),
        st.none() | st.tuples(st.integers(1, 6), st.sampled_from(Fault)),
        st.none() | st.tuples(st.integers(1, 3), st.booleans()),
    ),
    min_size=25,
    max_size=50,
)
RECORDS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([GOOD, BAD, DEBATABLE]), st.integers(0, 1)), min_size=6, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(RECORDS, STEPS)
def test_every_offset_is_landed_once_or_lettered_whatever_happens(
    records: list[tuple[bool, bytes, int]], steps: list[Step]
) -> None:
    """Each process owns every partition all along, reads from what is committed, and commits when it likes."""
    world = World(records)
    processes = [Process(world, number) for number in range(PROCESSES)]
    for step in steps:
        run(world, processes[step.process], step)
    world.store.script.clear()
    world.writer.script.clear()
    for process in processes[: 1 + len(steps) % PROCESSES]:
        process.finish()
        world.store.deliver()
    processes[0].crash()
    processes[0].finish()
    found = verdict(world.places, world.store, lettered_offsets(world.log), across_parts=True)
    assert found == Verdict()
    for date in (DATE, NEXT_DATE):
        check_chain(world.store, date)


def run(world: World, process: Process, step: Step) -> None:
    """One step; the world's faults are survived by trying again at a later step."""
    world.store.script = {}
    if step.store_fault:
        nth, fault = step.store_fault
        world.store.script = {len(world.store.calls) + nth: fault}
    world.writer.script = {}
    if step.writer_fault:
        nth, world.writer.applied = step.writer_fault
        outcome = OutcomeUnknown("x") if world.writer.applied else NotStored("x")
        world.writer.script = {len(world.writer.sent) + nth: outcome}
    source = P1 if step.second else P0
    with suppress(WorldFault):
        match step.does:
            case "read":
                process.read(source, step.count)
            case "seal":
                process.seal()
            case "land":
                process.land()
            case "commit":
                world.store.script = {}
                process.commit()
            case "crash":
                process.crash()
            case "assign":
                process.assign(source)
            case "arrive":
                world.store.deliver()
