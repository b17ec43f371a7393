"""How many batches may be under way at once, and waiting until none is."""

from __future__ import annotations

import threading
from time import monotonic


class Room:
    """So many places. `leave` may come from another thread than `enter`."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = threading.BoundedSemaphore(places)

    def enter(self) -> None:
        """Take a place; waits for one."""
        self._free.acquire()

    def leave(self) -> None:
        """Give it back."""
        self._free.release()

    def wait_empty(self, within_s: float | None = None) -> bool:
        """Wait until nobody is left in it, `within_s` at most. False where somebody is. Nobody enters it again."""
        deadline = None if within_s is None else monotonic() + within_s
        for _ in range(self._places):
            if not self._free.acquire(timeout=None if deadline is None else max(0.0, deadline - monotonic())):
                return False
        return True
