"""Outcomes from the writer's thread to the event loop: one wake-up for as many as there are, not one each."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TypeVar

T = TypeVar("T")


class Deliveries:
    """Resolves futures of one event loop from any thread. Made on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._home = threading.get_ident()
        self._waiting: deque[tuple[asyncio.Future[object], object]] = deque()
        self._scheduled = False

    def deliver(self, future: asyncio.Future[T], outcome: T) -> None:
        """Resolve `future` on its loop. After the loop has closed nobody waits any more, and nothing happens."""
        if threading.get_ident() == self._home:
            _resolve(future, outcome)
            return
        self._waiting.append((future, outcome))  # type: ignore[arg-type]  # a future and its own outcome
        # Appended before the flag is read, and the flag is lowered before the queue is emptied: whoever finds it raised
        # is seen by the wake-up that raised it. Two threads raising it at once cost a second, empty wake-up.
        if not self._scheduled:
            self._scheduled = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve_all)

    def _resolve_all(self) -> None:
        self._scheduled = False
        waiting = self._waiting
        while waiting:
            _resolve(*waiting.popleft())


def _resolve(future: asyncio.Future[T], outcome: T) -> None:
    if not future.done():
        future.set_result(outcome)
