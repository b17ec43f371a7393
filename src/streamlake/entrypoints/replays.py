"""Everything that is done with replays, for the command line and for Airflow: plan, run, and look at them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from streamlake.domain.model.replay_plans import REWIND, ReplayPlan, ReplayRequest
from streamlake.domain.model.times import rfc3339
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.replay_planning import PlanReplays
from streamlake.domain.use_cases.replay_records import ReplayRecords, ReplaySummary, RunRecord
from streamlake.entrypoints.bounded_replay import BoundedRun
from streamlake.entrypoints.replay_flow import Pace, ReplayProgress, Tell
from streamlake.entrypoints.rewind_run import RewindRun, Say


def _untold(_: ReplayProgress) -> None:
    """Nobody watches."""


def _unsaid(_: str) -> None:
    """Nobody listens."""


class Replays:
    """Values in, values out; each has `to_json`. Errors: those of log and store, and `ReplayRefused`."""

    def __init__(
        self,
        planner: PlanReplays,
        records: ReplayRecords,
        bounded: Callable[[ReplayPlan, Pace, threading.Event], BoundedRun],
        rewind: Callable[[ReplayPlan, threading.Event, BoundedRun, str, Say], RewindRun],
        clock: Clock,
    ) -> None:
        self._planner = planner
        self._records = records
        self._bounded = bounded
        self._rewind = rewind
        self._clock = clock

    def plan(
        self, dataset: str, requests: Sequence[ReplayRequest], *, by: str, accept_gap: bool = False
    ) -> list[ReplayPlan]:
        """A plan for each request; the stored one where its id has one already. Writes nothing.

        Raises `ReplayRefused` where an id is already that of another replay, `PartitionMissing`, `TopicMissing`.
        """
        stored = {request.replay_id: self._records.find(request.replay_id) for request in requests}
        fresh = [request for request in requests if stored[request.replay_id] is None]
        now = rfc3339(self._clock.now())
        made = self._planner.plan(dataset, fresh, accept_gap=accept_gap, by=by, at=now) if fresh else []
        found = {plan.replay_id: plan for plan in made} | {i: plan for i, plan in stored.items() if plan is not None}
        return [self._records.same(found[request.replay_id], request) for request in requests]

    def store(self, plan: ReplayPlan) -> ReplayPlan:
        """Store a plan, so that it may run; or the one stored under its id. Raises `PositionLost` where it loses
        records and does not accept that."""
        return self._records.adopt(plan)

    def run(
        self,
        replay_id: str,
        *,
        by: str,
        tell: Tell = _untold,
        say: Say = _unsaid,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        accept_gap: bool = False,
        accept_dead_letters: bool = False,
        stop: threading.Event | None = None,
    ) -> RunRecord:
        """Carry out a stored plan, or what is missing of it, and say what became of it. Safe to repeat, and to kill."""
        plan, ending = self._records.plan(replay_id), stop or threading.Event()
        attempt = self._bounded(plan, pace, ending)

        def fill(run: BoundedRun) -> RunRecord:
            return run.run(by, tell, accept_gap=accept_gap, accept_dead_letters=accept_dead_letters)

        if plan.request.mode == REWIND:
            return self._rewind(plan, ending, attempt, by, say).run(fill)
        return fill(attempt)

    def abort(self, replay_id: str, *, by: str, say: Say = _unsaid, stop: threading.Event | None = None) -> RunRecord:
        """End a rewind that is under way: its group goes on live. Raises `ReplayRefused` where it is not under way."""
        plan, ending = self._records.plan(replay_id), stop or threading.Event()
        return self._rewind(plan, ending, self._bounded(plan, Pace(), ending), by, say).abort()

    def summary(self, replay_id: str) -> ReplaySummary:
        """A replay with its attempts."""
        return self._records.summary(replay_id)

    def summaries(self) -> Iterator[ReplaySummary]:
        """Every replay, by id."""
        for plan in self._records.plans():
            yield ReplaySummary(plan, tuple(self._records.runs(plan.replay_id)))
