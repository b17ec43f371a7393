"""The machine's own clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from streamlake.domain.ports.clock import Clock


class SystemClock(Clock):
    """What the operating system says."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
