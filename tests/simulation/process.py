"""Simulated processes: the product's consumer, its two threads as two tasks, and a bounded replay beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tests.simulation.effects import Event, Queue, Task
from tests.simulation.facts import DATASET, PARTITIONS, Broken
from tests.simulation.group import RAW, Group, SimulatedSubscription
from tests.simulation.ports import SimulatedAdmin, SimulatedReader, SimulatedStore, SimulatedWriter
from tests.simulation.witness import Witness, acceptable

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.adapters.part_format.ndjson import JsonPartFormat
from streamlake.domain.errors import (
    AccessDenied,
    ContractViolation,
    FieldError,
    OperatorFault,
    PositionLost,
    TopicMissing,
    TopicRecreated,
    WorldFault,
)
from streamlake.domain.model.contracts import Contract
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.times import iso_date
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogSubscriber
from streamlake.domain.use_cases.control import Control
from streamlake.domain.use_cases.judge_records import JudgeRecords
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.domain.use_cases.part_log import PartLog, PartLogs
from streamlake.domain.use_cases.replay_records import ReplayRecords
from streamlake.domain.use_cases.start_positions import StartPositions
from streamlake.entrypoints.consumer_daemon import DRAIN_S, ConsumerParts, DatasetConsumer, MemoryBudget
from streamlake.entrypoints.landing_telemetry import LandingTelemetry

WATCHED_TURNS = 10
RECORD_BYTES = 700
"""More than one of these records takes of the memory budget."""

_BEGIN = datetime(2026, 11, 21, tzinfo=UTC)


class SimulatedClock(Clock):
    """Time, as the scheduler lets it pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return _BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class _SecondFormat(JsonPartFormat):
    """Another extension, so that processes can disagree about it."""

    name = "jsonl"


FORMATS = {"json": JsonPartFormat(), "jsonl": _SecondFormat()}


class _Catalog(ContractCatalog):
    """One contract: the lenient, or the strict one."""

    def __init__(self, *, lenient: bool) -> None:
        def parse(payload: bytes) -> Mapping[str, object]:
            if not acceptable(payload, lenient=lenient):
                raise ContractViolation("sim.v1", (FieldError("/id", "required", "is required"),))
            return {}

        self._contract = Contract(DATASET, 1, "", "id", "ab" * 32, {}, {}, parse)

    def datasets(self) -> Sequence[str]:
        return [DATASET]

    def versions(self, dataset: str) -> Sequence[Contract]:
        return [self._contract]

    def newest(self, dataset: str) -> Contract:
        return self._contract

    def find(self, dataset: str, version: str) -> Contract | None:
        return self._contract if version == "v1" else None


CATALOGS = {lenient: _Catalog(lenient=lenient) for lenient in (False, True)}


class _Silent(LandingTelemetry):
    """Says nothing."""

    def __init__(self) -> None:
        """No metrics, no log."""

    def _nothing(self, *told: object, **more: object) -> None:
        """Quite so."""

    landed = landing_trouble = roll_up_trouble = conflicts = received = buffered = committed = _nothing
    commit_trouble = log_trouble = assigned = revoked = started = halted = lag = _nothing


SILENT = _Silent()


class _NumberedFrom(PartLog):
    """A part log whose prefix is as if that many parts lay before its first: cheap big numbers."""

    base = 0

    @property
    def _next(self) -> int:
        return self._number

    @_next.setter
    def _next(self, number: int) -> None:
        self._number = self.base + 1 if number == 1 else number


@dataclass(frozen=True, slots=True)
class Character:
    """How a process is configured."""

    lenient: bool
    form: str
    limits: LandingLimits
    max_part_bytes: int
    poll_records: int
    page: int
    first_number: int
    memory_budget: int
    max_prefixes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes share."""

    clock: SimulatedClock
    log: MemoryEventLog
    bucket: MemoryObjectStore
    group: Group
    witness: Witness


class Process:
    """Something that can be killed and stopped: its tasks die together."""

    def __init__(self, name: str, around: Surroundings, character: Character) -> None:
        self.name = name
        self.alive = True
        self.stalled_until = 0
        self.tasks: list[Task] = []
        self.character = character
        self._around = around
        self.store = SimulatedStore(around.bucket, around.witness, character.page)
        self.admin = SimulatedAdmin(around.log)
        self.reader = SimulatedReader(around.group.reader)

    def _part_logs(self) -> PartLogs:
        kind: type[PartLog] = PartLog
        if self.character.first_number > 1:
            kind = type("Numbered", (_NumberedFrom, PartLog), {"base": self.character.first_number - 1})
        return PartLogs(lambda date: self._part_log(kind, date), self.character.max_prefixes)

    def _part_log(self, kind: type[PartLog], date: str) -> PartLog:
        return kind(
            self.store,
            FORMATS,
            DATASET,
            date,
            wanted_format=self.character.form,
            writer=self.name,
            max_part_bytes=self.character.max_part_bytes,
        )


class ConsumerProcess(Process):
    """`DatasetConsumer` and its `LandingThread`, as they are, run by the scheduler."""

    def __init__(self, name: str, around: Surroundings, character: Character) -> None:
        super().__init__(name, around, character)
        self.stopping = False
        self._turns = 0
        group = around.group
        writer = SimulatedWriter(around.log, around.witness, self.store.seen)
        catalog = CATALOGS[character.lenient]
        parts = ConsumerParts(
            subscriber=cast(LogSubscriber, None),
            admin=self.admin,
            core=LandRecords(DATASET, catalog, character.limits),
            landing=LandSnapshots(DATASET, self.admin, writer, self._part_logs()),
            starts=StartPositions(DATASET, self.store, FORMATS, self.admin, self.reader),
            control=Control(self.admin, self.reader, writer),
            clock=around.clock,
            telemetry=SILENT,
            reader=self.reader,
            replay_plan=ReplayRecords(self.store).plan,
            replay_core=lambda replay_id: LandRecords(DATASET, catalog, character.limits, replay_id),
        )
        self.consumer = DatasetConsumer(DATASET, parts, MemoryBudget(character.memory_budget))
        # Nobody rewinds in these worlds (replays are bounded), and a look would be a step of every schedule.
        setattr(self.consumer._stand_by, "look", lambda: None)  # noqa: B010
        self.consumer._subscription = SimulatedSubscription(group, self, self.consumer, character.poll_records)
        self.landing: Any = self.consumer._landing
        swapped: dict[str, Any] = {"settled": Queue(), "_inbox": Queue(), "_abandoned": Event()}
        for attribute, waiting in swapped.items():
            setattr(self.landing, attribute, waiting)
        self.tasks = [Task(self, "poll", self._poll), Task(self, "land", self.landing._run)]

    @property
    def idle(self) -> bool:
        """Is nothing under way?"""
        return not self.consumer._in_flight and self.consumer._core.opened_at is None

    def _watch(self) -> None:
        """What the watcher's thread of a real process does every few seconds."""
        self._turns += 1
        if self._turns % WATCHED_TURNS == 0:
            with suppress(WorldFault, OperatorFault):
                found = self.admin.topics([RAW]).get(RAW)
                self.consumer.watch(found.topic_id if found else None, {}, {}, [])

    def _mind_the_budget(self) -> None:
        """What is buffered may be over the budget by what one poll has brought."""
        consumer, character = self.consumer, self.character
        used = consumer._buffered
        if used > character.memory_budget + PARTITIONS * character.poll_records * RECORD_BYTES:
            raise Broken(f"{self.name} buffers {used} bytes, its budget is {character.memory_budget}")

    def _poll(self) -> None:
        """As `DatasetConsumer.run` does it."""
        while not self.stopping:
            self.consumer._turn()
            self._mind_the_budget()
            self._watch()
        self.consumer._finish(DRAIN_S, "shutdown")
        self.consumer._subscription.close()
        self.landing._abandoned.set()
        self.landing._inbox.put(None)
        self.alive = False


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A range to land again under an id."""

    replay_id: str
    lane: Lane
    start: int
    until: int


class ReplayProcess(Process):
    """Reads a range and lands it under the plan's id, chunk by chunk. A retry is another process with the same plan."""

    def __init__(self, name: str, around: Surroundings, character: Character, plan: ReplayPlan) -> None:
        super().__init__(name, around, character)
        self.plan = plan
        self.finished = False
        self.hopeless = False
        self._judge = JudgeRecords(DATASET, CATALOGS[True])
        self._logs = self._part_logs()
        self.tasks = [Task(self, "replay", self._run)]

    def _run(self) -> None:
        at = self.plan.start
        while at < self.plan.until:
            end = min(at + self.character.limits.max_records, self.plan.until)
            try:
                self._land(at, end)
            except (WorldFault, AccessDenied):
                continue
            except (PositionLost, TopicMissing, TopicRecreated):
                self.hopeless = True
                break
            at = end
        self.finished = not self.hopeless
        self.alive = False

    def _land(self, start: int, end: int) -> None:
        plan = self.plan
        source = TopicPartition(RAW, plan.lane.partition)
        by_day: dict[int, Rows] = {}
        for batch in self.reader.read(source, start, end):
            columns = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, batch.headers, strict=True)
            for offset, timestamp, key, value, headers in columns:
                if timestamp < 0 or not acceptable(value, lenient=True):
                    continue
                row = self._judge.judge(plan.lane.topic_id, source.partition, offset, timestamp, key, value, headers)
                rows = by_day.setdefault(row.day, Rows(source, plan.lane.topic_id))
                for column, item in (
                    (rows.offsets, offset),
                    (rows.timestamps, timestamp),
                    (rows.keys, row.key),
                    (rows.schema_versions, row.schema_version),
                    (rows.ingestion_ids, row.ingestion_id),
                    (rows.producer_services, row.producer_service),
                    (rows.ingested_ats, row.ingested_at),
                    (rows.headers, row.headers),
                    (rows.payloads, row.payload),
                ):
                    cast("list[Any]", column).append(item)
        info = self.admin.topics([RAW]).get(RAW)
        if info is None or info.topic_id != plan.lane.topic_id:
            raise TopicRecreated(RAW)
        claims = {plan.lane: Offsets([(start, end)])}
        for day in sorted(by_day):
            self._logs.of(iso_date(day)).land([by_day[day]], claims, lambda part: None, plan.replay_id)
