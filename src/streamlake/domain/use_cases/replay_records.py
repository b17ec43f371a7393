"""What is kept of replays, as objects: each plan once, and each attempt to carry it out.

A plan is created, never changed. The record of an attempt is written when it begins, now and then while it runs, and
when it ends; only the attempt itself writes it. Whether a replay is done is not asked here but of the raw zone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from streamlake.domain.errors import AlreadyExists, GenerationChanged, ObjectMissing, PositionLost, ReplayRefused
from streamlake.domain.model.replay_plans import REPLAYS, ReplayPlan, ReplayRequest, read_plan
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

RUNNING, COMPLETE, FAILED, ABORTED, INTERRUPTED = "running", "complete", "failed", "aborted", "interrupted"
PLANNED = "planned"
"""What a replay without any attempt is."""

RUN_VERSION = 1

SILENT = timedelta(minutes=5)
"""A running attempt says so every 10 s; but looking through a large raw zone, and a store that is away, take longer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct records of a replay so far. When it is complete, `selected` = `landed` + `lettered`."""

    selected: int = 0
    landed: int = 0
    lettered: int = 0

    @property
    def close(self) -> bool:
        """Does the sum close?"""
        return self.selected == self.landed + self.lettered


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One attempt: who made it, when (RFC 3339), and what became of it. `lost` are offsets, by partition, that
    retention took after the plan was made and whose loss was accepted."""

    replay_id: str
    number: int
    state: str
    by: str
    started_at: str
    updated_at: str
    counts: Counts = Counts()
    reason: str = ""
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The object it is kept in."""
        return f"{REPLAYS}{self.replay_id}/run-{self.number:04d}.json"

    def to_json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {"v": RUN_VERSION, **asdict(self)}


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay with all its attempts, oldest first."""

    plan: ReplayPlan
    runs: tuple[RunRecord, ...]

    def trouble(self, now: datetime) -> str | None:
        """Why somebody has to see to it: it ended before it was complete, or its last attempt seems dead. None where
        all is well, and where it was aborted."""
        if self.state in (PLANNED, COMPLETE, ABORTED):
            return None
        last = self.runs[-1]
        way = f"`streamlake replay resume {self.plan.replay_id}` goes on"
        if last.state == RUNNING:
            silent = now - datetime.fromisoformat(last.updated_at) > SILENT
            return f"not heard of since {last.updated_at[:19]}Z; if it is dead, {way}" if silent else None
        return f"{last.reason}{'' if way in last.reason else f'; {way}'}"

    @property
    def state(self) -> str:
        """`planned`, or what became of it: complete where any attempt was, else as the last one says. One that was
        killed still says `running`; how long ago it last said so is in its `updated_at`."""
        if any(run.state == COMPLETE for run in self.runs):
            return COMPLETE
        return self.runs[-1].state if self.runs else PLANNED

    def to_json(self) -> dict[str, Any]:
        """As it is printed."""
        return {"state": self.state, "plan": self.plan.to_json(), "runs": [run.to_json() for run in self.runs]}


class ReplayRecords:
    """Reads and writes them. Errors of every method: the store's."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def adopt(self, plan: ReplayPlan) -> ReplayPlan:
        """Store a plan, or, where its id has one already, return that one.

        Raises `PositionLost` for a new plan that loses records and does not accept it, and `ReplayRefused` where the
        stored plan is of another request.
        """
        stored = self.find(plan.replay_id)
        if stored is None:
            if plan.lost and not plan.accept_gap:
                raise PositionLost(lost_in_words(plan))
            try:
                body = json.dumps(plan.to_json(), indent=1).encode()
                self._store.create(_plan_name(plan.replay_id), body, content_type="application/json", metadata={})
                return plan
            except AlreadyExists:
                stored = self.plan(plan.replay_id)
        return self.same(stored, plan.request)

    @staticmethod
    def same(plan: ReplayPlan, request: ReplayRequest) -> ReplayPlan:
        """The plan, where it is of this request. Raises `ReplayRefused` where it is of another."""
        if plan.request != request:
            raise ReplayRefused(
                f"replay {plan.replay_id}: is already another one ({plan.dataset}, {plan.request.mode},"
                f" {plan.request.selection}); take another id"
            )
        return plan

    def find(self, replay_id: str) -> ReplayPlan | None:
        """The stored plan, or None."""
        name = _plan_name(replay_id)
        try:
            body = self._store.read(name)[1]
        except ObjectMissing:
            return None
        try:
            return read_plan(body)
        except ValueError as malformed:
            raise ReplayRefused(f"{name}: cannot be read: {malformed}") from None

    def plan(self, replay_id: str) -> ReplayPlan:
        """The stored plan. Raises `ReplayRefused` where there is none."""
        found = self.find(replay_id)
        if found is None:
            raise ReplayRefused(f"replay {replay_id}: there is no such replay")
        return found

    def plan_of(self, dataset: str, replay_id: str) -> ReplayPlan:
        """The same, of this dataset. Raises `ReplayRefused` also where it is another's."""
        found = self.plan(replay_id)
        if found.dataset != dataset:
            raise ReplayRefused(f"replay {replay_id}: is of dataset {found.dataset}, not {dataset}")
        return found

    def plans(self) -> Iterator[ReplayPlan]:
        """Every stored plan, by id."""
        for found in self._store.list(REPLAYS):
            name = found.name.removeprefix(REPLAYS)
            if "/" not in name and name.endswith(".json"):
                yield self.plan(name.removesuffix(".json"))

    def summary(self, replay_id: str) -> ReplaySummary:
        """A replay with its attempts. Raises `ReplayRefused` where there is none of that id."""
        return ReplaySummary(self.plan(replay_id), tuple(self.runs(replay_id)))

    def runs(self, replay_id: str) -> list[RunRecord]:
        """The attempts to carry out a replay, oldest first."""
        found = [self._store.read(each.name)[1] for each in self._store.list(f"{REPLAYS}{replay_id}/run-")]
        return sorted((_read_run(body) for body in found), key=lambda run: run.number)

    def begin(self, replay_id: str, by: str, now: str) -> RunLog:
        """Record that an attempt begins; the record to keep up to date while it runs."""
        number = len(self.runs(replay_id)) + 1
        while True:
            record = RunRecord(replay_id, number, RUNNING, by, now, now)
            try:
                made = self._store.create(record.name, _body(record), content_type="application/json", metadata={})
                return RunLog(self._store, record, made.generation)
            except AlreadyExists:
                number += 1


class RunLog:
    """The record of one running attempt."""

    def __init__(self, store: ObjectStore, record: RunRecord, generation: int) -> None:
        self._store = store
        self._generation = generation
        self.record = record

    def update(self, now: str, **changes: Any) -> RunRecord:
        """Write it anew with these changes."""
        self.record = replace(self.record, updated_at=now, **changes)
        try:
            written = self._replace()
        except GenerationChanged:  # by ourselves: an earlier write whose answer was lost
            self._generation = self._store.describe(self.record.name).generation
            written = self._replace()
        self._generation = written.generation
        return self.record

    def _replace(self) -> ObjectInfo:
        return self._store.replace(
            self.record.name, _body(self.record), content_type="application/json", if_generation=self._generation
        )


def lost_in_words(plan: ReplayPlan) -> str:
    """What of a plan retention has taken."""
    told = ", ".join(f"partition {p} [{start}, {end})" for p, (start, end) in plan.lost.items())
    return f"replay {plan.replay_id}: retention has taken offsets of {told}; --accept-gap replays the rest"


def _plan_name(replay_id: str) -> str:
    return f"{REPLAYS}{replay_id}.json"


def _body(record: RunRecord) -> bytes:
    return json.dumps(record.to_json(), indent=1).encode()


def _read_run(body: bytes) -> RunRecord:
    told = json.loads(body)
    counts = Counts(**told["counts"])
    fields = {name: told[name] for name in RunRecord.__slots__ if name in told and name not in ("counts", "lost")}
    return RunRecord(**fields, counts=counts, lost={p: (a, b) for p, (a, b) in told["lost"].items()})
