"""A clock that stands still until it is told to move: for tests and simulations."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from streamlake.domain.ports.clock import Clock


class ManualClock(Clock):
    """Time as the test tells it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._now = _in_utc(start)
        self._monotonic = 0.0

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass: both times go on together. Raises ValueError for time running backwards."""
        if seconds < 0:
            raise ValueError(f"advance: seconds must be >= 0, is {seconds}; use set() to make the wall time jump")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def set(self, now: datetime) -> None:
        """Make the wall time jump, forwards or back, as an operator or NTP would; the monotonic time stays."""
        with self._lock:
            self._now = _in_utc(now)


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"clock: the time must be timezone-aware, is {moment.isoformat()}")
    return moment.astimezone(UTC)
