"""Straight to the event log, through the use case behind the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamlake.domain.errors import RecordTooLarge
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.ingest_events import Accepted, EventOutcome, IngestEvents, IngestRequest, Rejected
from streamlake.entrypoints.produce.batches import Batch
from streamlake.entrypoints.produce.results import TOO_LARGE, BatchResult, Reject
from streamlake.entrypoints.produce.room import Room
from streamlake.entrypoints.produce.run import Run


class StraightSender:
    """Sends batches in order, so that events of one key keep theirs; several are under way at once."""

    def __init__(
        self, ingest: IngestEvents, clock: Clock, request: Callable[[Batch], IngestRequest], at_once: int, run: Run
    ) -> None:
        self._ingest = ingest
        self._clock = clock
        self._request = request
        self._room = Room(at_once)
        self._run = run

    def send(self, batch: Batch) -> None:
        """Waits only for room. Raises `UnknownDataset`."""

        def settled(outcomes: Sequence[EventOutcome]) -> None:
            try:
                self._run.done(batch, result_of(outcomes))
            finally:
                self._room.leave()

        self._room.enter()
        if not self._run.begin(batch):
            self._room.leave()
            return
        self._ingest.ingest_batch(self._request(batch), batch.events, self._clock.now(), settled)

    def finish(self, within_s: float | None = None) -> None:
        """Wait for what is under way, `within_s` at most."""
        self._room.wait_empty(within_s)


def result_of(outcomes: Sequence[EventOutcome]) -> BatchResult:
    """The use case's answer to a batch."""
    accepted, failed, fault = 0, 0, ""
    rejects: list[Reject] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Accepted):
            accepted += 1
        elif isinstance(outcome, Rejected):
            errors = [{"pointer": e.pointer, "rule": e.rule, "expected": e.expected} for e in outcome.violation.errors]
            rejects.append(Reject(index, error_class(outcome.violation), outcome.ingestion_id, errors))
        elif isinstance(outcome.fault, RecordTooLarge):
            rejects.append(Reject(index, TOO_LARGE, outcome.ingestion_id))
        else:
            failed += 1
            fault = fault or str(outcome.fault)
    return BatchResult(accepted, rejects, failed, fault)
