"""The time, at the loops only: everything else is handed it as an argument."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for waiting. Safe to call from any thread."""

    @abstractmethod
    def now(self) -> datetime:
        """The wall time, timezone-aware UTC, microseconds. May jump; nothing safe rests on it."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds from some fixed moment of this process; never goes back."""
