"""Whether the event log answers: what a consumer says of it in its readiness."""

from __future__ import annotations

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.ports.clock import Clock


class LogHealth:
    """What was heard of the log last, by the poll thread and by the watcher's.

    A poll tells of a fault once and is merely empty from then on, as that of a quiet topic is. So what was heard last
    counts, whoever heard it: records, or an answer to what was asked after the fault, and it has passed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Each is written by one thread, as a whole.
        self._poll_failed: tuple[float, str] | None = None
        self._look_failed: tuple[float, str] | None = None
        self._brought = self._answered = float("-inf")

    def poll_failed(self, fault: StreamLakeError) -> None:
        """A poll told of a fault."""
        self._poll_failed = self._clock.monotonic(), _said(fault)

    def brought_records(self) -> None:
        """A poll brought records."""
        self._brought = self._clock.monotonic()

    def look_failed(self, asked: float, fault: StreamLakeError) -> None:
        """What was asked at that time, in monotonic seconds, was not answered."""
        self._look_failed = asked, _said(fault)

    def answered(self, asked: float) -> None:
        """What was asked at that time, in monotonic seconds, was answered."""
        self._answered = asked

    @property
    def trouble(self) -> str | None:
        """What is the matter with the log; None while it answers."""
        well = max(self._brought, self._answered)
        failed = [each for each in (self._poll_failed, self._look_failed) if each is not None and each[0] >= well]
        return max(failed)[1] if failed else None


def _said(fault: StreamLakeError) -> str:
    return f"{type(fault).__name__}: {fault}"
