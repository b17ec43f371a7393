"""The thread that lands: storage and dead letters off the poll thread, one snapshot after the other, however long.

Only here is a failed landing waited out. The poll thread hands snapshots in and takes settled ones out.
"""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass

from streamlake.domain.errors import (
    OperatorFault,
    StreamLakeError,
    TopicMissing,
    TopicRecreated,
    WorldFault,
    WriterFailed,
)
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.circuit_breaker import CircuitOpen
from streamlake.domain.use_cases.land_records import LandSnapshots
from streamlake.entrypoints.landing_telemetry import LandingTelemetry

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0
PROBE_S = 30.0
"""How often a halted landing is tried again: some halts an operator mends from outside."""

IDLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A snapshot that is landed, or, with a fault, one that never can be."""

    snapshot: Snapshot
    fault: OperatorFault | None = None


class LandingThread:
    """Lands the snapshots of one dataset. `submit`, `settled` and `stop` belong to the poll thread."""

    def __init__(self, dataset: str, landing: LandSnapshots, clock: Clock, telemetry: LandingTelemetry) -> None:
        self.settled: queue.SimpleQueue[Settled] = queue.SimpleQueue()
        self.trouble: str | None = None
        """Why it is not getting on just now, for readiness; None while it is."""
        self.fatal: Exception | None = None
        """Set where only a new process can go on: the writer is beyond repair, or this thread has died."""
        self._landing = landing
        self._clock = clock
        self._telemetry = telemetry
        self._inbox: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"land-{dataset}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Has it not died?"""
        return self._thread.is_alive()

    def submit(self, snapshot: Snapshot) -> None:
        """Queue a sealed snapshot."""
        self._inbox.put(snapshot)

    def stop(self, timeout_s: float) -> None:
        """Give up what is not landed (nothing of it was committed, so it will be read again), write roll-ups, end."""
        self._abandoned.set()
        self._inbox.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as died:  # noqa: BLE001 - the last line of a thread, without which nothing lands any more
            self.fatal = died

    def _work(self) -> None:
        while True:
            try:
                snapshot = self._inbox.get(timeout=IDLE_S)
            except queue.Empty:
                self._write_roll_ups(only_due=True)
                continue
            if snapshot is None:
                break
            if not self._abandoned.is_set():
                self._land(snapshot)
                self._write_roll_ups(only_due=True)
        self._write_roll_ups(only_due=False)

    def _land(self, snapshot: Snapshot) -> None:
        attempt = 0
        while not self._abandoned.is_set():
            before = len(snapshot.parts), len(snapshot.lettered), snapshot.conflicts
            try:
                self._landing.land(snapshot, self._clock.now())
            except WorldFault as fault:
                wait = backoff_s(attempt)
                self._trouble(fault, wait)
            except WriterFailed as fault:
                self._trouble(fault, 0)
                self.fatal = fault
                return
            except (TopicMissing, TopicRecreated, CircuitOpen) as fault:
                self._telemetry.landing_trouble(fault, 0)
                self.settled.put(Settled(snapshot, fault))
                return
            except OperatorFault as fault:
                wait = PROBE_S
                self._trouble(fault, wait)
            else:
                self.trouble = None
                self._telemetry.landed(snapshot, *before)
                self.settled.put(Settled(snapshot))
                return
            self._telemetry.landed(snapshot, *before)
            attempt += 1
            self._abandoned.wait(wait)

    def _trouble(self, fault: StreamLakeError, wait_s: float) -> None:
        self.trouble = f"{type(fault).__name__}: {fault}"
        self._telemetry.landing_trouble(fault, wait_s)

    def _write_roll_ups(self, *, only_due: bool) -> None:
        """A roll-up gates nothing: whatever goes wrong with it is worth a line and another try, never a halt."""
        for log in self._landing.part_logs:
            now = self._clock.monotonic()
            if log.roll_up.due(now) or (log.roll_up.stale and not only_due):
                try:
                    log.roll_up.write(now)
                except StreamLakeError as fault:
                    self._telemetry.roll_up_trouble(log.roll_up.name, fault)


def backoff_s(attempt: int) -> float:
    """Exponential with full-range jitter, so that many consumers do not come back at once."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
