"""The landing side of a bounded replay: one thread, one snapshot after the other, waiting where the world is away."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from streamlake.domain.errors import GenerationChanged, OperatorFault, StoreUnavailable, StreamLakeError, WorldFault
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.land_records import LandSnapshots
from streamlake.entrypoints.landing_thread import backoff_s

PATIENCE_S = 600.0
"""How long the world may be out of order before an attempt gives up; the next one goes on where it was."""

POLL_S = 0.2

_log = structlog.get_logger("streamlake.replay")


@dataclass(slots=True)
class Trouble:
    """What a thread waits out, for the progress; None while it gets on."""

    text: str | None = None


class ReplayLander:
    """Lands snapshots, one after the other. `fault` is set where there is no point in waiting."""

    def __init__(self, landing: LandSnapshots, clock: Clock, trouble: Trouble) -> None:
        self.fault: StreamLakeError | None = None
        self.landed = 0
        self.lettered = 0
        self._landing = landing
        self._clock = clock
        self._trouble = trouble
        self._inbox: queue.Queue[Snapshot | None] = queue.Queue(1)
        self._settled: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay-land", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, snapshot: Snapshot | None, go_on: Callable[[], bool]) -> None:
        """Hand over; waits while one is being landed and one more is waiting, as long as `go_on` says so."""
        while self._thread.is_alive():
            try:
                self._inbox.put(snapshot, timeout=POLL_S)
                return
            except queue.Full:
                if not go_on():
                    return

    def settled(self) -> list[Snapshot]:
        """Those landed since it was last asked."""
        found = []
        while not self._settled.empty():
            found.append(self._settled.get())
        return found

    def finish(self, go_on: Callable[[], bool]) -> None:
        """Wait for all that was handed over, and its roll-ups, as long as `go_on` says so."""
        self.submit(None, go_on)
        while self._thread.is_alive() and go_on():
            self._thread.join(POLL_S)
        go_on()

    def abandon(self) -> None:
        """Give up what is not landed."""
        self._abandoned.set()
        with suppress(queue.Full):
            self._inbox.put_nowait(None)
        self._thread.join(5)

    def _run(self) -> None:
        fault: StreamLakeError | None = StoreUnavailable("the landing thread has died")
        try:
            while (snapshot := self._inbox.get()) is not None and not self._abandoned.is_set():
                self._land(snapshot)
                self._write_roll_ups(only_due=True)
            fault = None
        except StreamLakeError as found:
            fault = found
        finally:
            self.fault = fault
        self._write_roll_ups(only_due=False)

    def _land(self, snapshot: Snapshot) -> None:
        attempt = 0
        since = self._clock.monotonic()
        while not self._abandoned.is_set():
            parts, letters = len(snapshot.parts), len(snapshot.lettered)
            try:
                self._landing.land(snapshot, self._clock.now())
            except WorldFault as fault:
                if self._clock.monotonic() - since > PATIENCE_S:
                    raise
                self._trouble.text = f"{type(fault).__name__}: {fault}"
            else:
                for _, damage in snapshot.halted.values():
                    raise damage
                self._trouble.text = None
                self._settled.put(snapshot)
                return
            finally:
                self._count(snapshot, parts, letters)
            self._abandoned.wait(backoff_s(attempt))
            attempt += 1

    def _count(self, snapshot: Snapshot, parts: int, letters: int) -> None:
        for part in snapshot.parts[parts:]:
            self.landed += part.info.records
            _log.info(
                "part_landed",
                write_path=part.name,
                replay_id=snapshot.replay_id,
                records=part.info.records,
                bytes=part.size,
                generation=part.generation,
                reason=snapshot.reason,
                offsets={str(lane.partition): list(offsets) for lane, offsets in part.info.claims.items()},
            )
        for letter, place in snapshot.lettered[letters:]:
            self.lettered += 1
            _log.info(
                "dead_letter",
                replay_id=snapshot.replay_id,
                error_class=error_class(letter.fault),
                error=str(letter.fault),
                topic=letter.source.topic,
                partition=letter.source.partition,
                offset=letter.source.offset,
                letter=f"{place.topic}[{place.partition}]@{place.offset}",
            )

    def _write_roll_ups(self, *, only_due: bool) -> None:
        """A roll-up gates nothing: what goes wrong with it is worth a line, `raw-zone rebuild-metadata` mends it."""
        for log in self._landing.part_logs:
            now = self._clock.monotonic()
            if log.roll_up.due(now) or (log.roll_up.stale and not only_due):
                try:
                    log.roll_up.write(now)
                except (WorldFault, OperatorFault, GenerationChanged) as fault:
                    _log.warning("roll-up not written", write_path=log.roll_up.name, error=str(fault))
