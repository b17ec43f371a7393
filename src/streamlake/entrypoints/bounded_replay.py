"""Bounded replays as they run: readers of their own, a thread that judges, one that lands. Live landing is untouched.

    reader threads (a partition each)      the caller's thread            landing thread
    ---------------------------------      -------------------            --------------
    LogReader.read --> a short queue  -->  BoundedReplay.receive  -->     LandSnapshots.land, again where it has to wait

Nothing is held that a crash could lose: what is missing is found out anew by the next attempt, from storage.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from streamlake.domain.errors import StreamLakeError, WorldFault
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.model.times import rfc3339
from streamlake.domain.use_cases.circuit_breaker import CircuitOpen
from streamlake.domain.use_cases.land_records import LandRecords
from streamlake.domain.use_cases.replay import BoundedReplay, ReplayCoverage, check_topic, insist_on
from streamlake.domain.use_cases.replay_records import (
    ABORTED,
    COMPLETE,
    FAILED,
    INTERRUPTED,
    Counts,
    ReplayRecords,
    RunLog,
    RunRecord,
)
from streamlake.entrypoints.landing_thread import backoff_s
from streamlake.entrypoints.replay_flow import FlowParts, Pace, ReplayFlow, Tell

ATTEMPTS_TO_RECORD = 8

_log = structlog.get_logger("streamlake.replay")


@dataclass(frozen=True, slots=True)
class BoundedParts:
    """What an attempt is made of (`container` builds it)."""

    core: LandRecords
    coverage: ReplayCoverage
    records: ReplayRecords
    flow: FlowParts


class BoundedRun:
    """One attempt to carry out a stored plan, in this process."""

    def __init__(self, plan: ReplayPlan, parts: BoundedParts, pace: Pace = Pace()) -> None:  # noqa: B008 - frozen
        self._plan = plan
        self._parts = parts
        self._pace = pace
        self._stop = parts.flow.stop
        self._clock = parts.flow.clock
        self._replay: BoundedReplay | None = None
        """Once it is known what is missing."""

    def run(
        self,
        by: str,
        tell: Tell = lambda _: None,
        *,
        accept_gap: bool = False,
        accept_dead_letters: bool = False,
    ) -> RunRecord:
        """Read, judge and land what is missing; what became of it, as it is recorded under `ops/replays/`.

        `complete` only where storage holds every selected record. One that was complete before, and still is, adds
        nothing at all. Raises only where not even the outcome could be recorded: the store's errors.
        """
        with suppress(StreamLakeError):  # the attempt meets the same, and records it
            done = self.complete_already()
            if done is not None:
                return done
        log = self._parts.records.begin(self._plan.replay_id, by, self._now())
        try:
            return self._carry_out(log, tell, accept_gap, accept_dead_letters)
        except CircuitOpen as flood:
            return self._end_early(log, ABORTED, f"{flood.why}; mend the contract, or --accept-dead-letters")
        except StreamLakeError as fault:
            return self._end_early(log, FAILED, f"{type(fault).__name__}: {fault}")

    def complete_already(self) -> RunRecord | None:
        """The attempt that completed it, if storage still has all of it; else None. Raises errors of log and store."""
        runs = self._parts.records.runs(self._plan.replay_id)
        last = next((run for run in reversed(runs) if run.state == COMPLETE), None)
        if last is None:
            return None
        return last if self._parts.coverage.of(self._plan).counts == last.counts else None

    def counts(self) -> Counts:
        """What storage has of it by now, and how much is known to be selected. Raises the errors of log and store."""
        there = self._parts.coverage.of(self._plan).counts
        return there if self._replay is None else Counts(self._replay.selected, there.landed, there.lettered)

    def _carry_out(self, log: RunLog, tell: Tell, accept_gap: bool, accept_dead_letters: bool) -> RunRecord:
        plan, parts = self._plan, self._parts
        check_topic(plan, parts.flow.admin)
        sources = [plan.source(each.partition) for each in plan.partitions]
        marks = parts.flow.admin.watermarks(sources)
        lows = {source.partition: mark.low for source, mark in marks.items()}
        covered = parts.coverage.of(plan)
        replay = self._replay = BoundedReplay(plan, covered, lows, parts.core)
        if not accept_gap:
            insist_on(plan, replay.lost)
        if accept_dead_letters:
            for each in plan.partitions:
                parts.flow.landing.breaker.tolerate(plan.source(each.partition), each.until)
        lost = {str(partition): ends for partition, ends in replay.lost.items()}
        log.update(self._now(), lost=lost, counts=covered.counts)

        def note(now: Counts) -> None:
            before = covered.counts
            self._note(log, Counts(now.selected, before.landed + now.landed, before.lettered + now.lettered))

        ReplayFlow(plan.dataset, parts.flow, self._pace, replay, tell, note).run()
        if self._stop.is_set():
            return self._end_early(log, INTERRUPTED, f"stopped; `streamlake replay resume {plan.replay_id}` goes on")
        counts = self.counts()
        if counts.close:
            return self._end(log, state=COMPLETE, counts=counts)
        hint = "run it again, or where dead letters were deleted run it under another id"
        return self._end(log, state=FAILED, counts=counts, reason=f"selected is not landed + lettered: {hint}")

    def _note(self, log: RunLog, counts: Counts) -> None:
        with suppress(WorldFault):  # the record of a running attempt may lag
            log.update(self._now(), counts=counts)

    def _end_early(self, log: RunLog, state: str, reason: str) -> RunRecord:
        """With what storage has by then; where it does not answer, with what was noted last."""
        counts = log.record.counts
        with suppress(StreamLakeError):
            counts = self.counts()
        return self._end(log, state=state, reason=reason, counts=counts)

    def _end(self, log: RunLog, **changes: Any) -> RunRecord:
        attempt = 0
        while True:
            try:
                ended = log.update(self._now(), **changes)
            except WorldFault:
                if attempt == ATTEMPTS_TO_RECORD:
                    raise
                threading.Event().wait(backoff_s(attempt))
                attempt += 1
                continue
            _log.info("replay ended", replay_id=ended.replay_id, state=ended.state, **asdict(ended.counts))
            return ended

    def _now(self) -> str:
        return rfc3339(self._clock.now())
