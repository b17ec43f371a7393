"""Whether the event log answers: what a consumer says of it in its readiness."""

from __future__ import annotations

from streamlake.domain.errors import OperatorFault, StreamLakeError, TopicMissing
from streamlake.domain.ports.clock import Clock

_NEVER = (float("-inf"), "")
"""When, in monotonic seconds, and why."""


class LogHealth:
    """What was heard of the log last, by the poll thread and by the watcher's.

    A poll tells of a fault once and is merely empty from then on, as that of a quiet topic is. So what was heard last
    counts, whoever heard it: records, or an answer to what was asked after the fault, and it has passed. What an
    operator has to mend is the group's business, and others' questions are answered all the while: only records, or
    partitions, show that it has passed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Each is written by one thread, as a whole.
        self._poll_failed = self._look_failed = self._refused = _NEVER
        self._served = self._answered = _NEVER[0]

    def poll_failed(self, fault: StreamLakeError) -> None:
        """A poll told of a fault."""
        told = self._clock.monotonic(), f"{type(fault).__name__}: {fault}"
        if isinstance(fault, OperatorFault) and not isinstance(fault, TopicMissing):  # which the watcher sees itself
            self._refused = told
        else:
            self._poll_failed = told

    def served(self) -> None:
        """A poll brought records, or the group gave partitions."""
        self._served = self._clock.monotonic()

    def look_failed(self, asked: float, fault: StreamLakeError) -> None:
        """What was asked at that time, in monotonic seconds, was not answered."""
        self._look_failed = asked, f"{type(fault).__name__}: {fault}"

    def answered(self, asked: float) -> None:
        """What was asked at that time, in monotonic seconds, was answered."""
        self._answered = asked

    @property
    def trouble(self) -> str | None:
        """What is the matter with the log; None while it answers."""
        at, why = max(self._poll_failed, self._look_failed)
        if at > max(self._served, self._answered):
            return why
        at, why = self._refused
        return why if at > self._served else None
