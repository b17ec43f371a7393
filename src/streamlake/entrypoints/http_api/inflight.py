"""How much may be going on at once. Past it the answer is 503 at once: a queue would only make everybody late.

    request          body under way           body whole, at the log      answer under way
    what it holds    what has come of it      the body and its events     the answer

Bodies under way have a bound of their own, below that of all bytes, and who has sent nothing for a while makes room
there: a few senders that stall keep nobody out.
"""

from __future__ import annotations

import asyncio

from streamlake.entrypoints.http_api.options import ApiOptions
from streamlake.entrypoints.http_api.problems import Problem, Refused

STALLED_S = 1.0
"""Silent for so long, a sender makes room for another where there is none. TCP sends a lost packet again sooner."""


class InFlight:
    """Requests and bytes not answered yet, each with a bound. Used on the event loop's thread only."""

    def __init__(self, options: ApiOptions) -> None:
        self._options = options
        self.overloaded = Problem(
            "overloaded",
            "As many requests or bytes as this server holds are in flight.",
            headers=((b"retry-after", b"%d" % options.retry_after_s),),
        )
        self.requests = 0
        self.bytes = 0
        self._arriving_bytes = 0
        self._arriving: dict[Slot, float] = {}
        """Bodies under way and when each last grew; the longest silent is the first."""

    def enter(self) -> Slot:
        """A place for one request, to be left by the one who entered. Raises `Refused`."""
        if self.requests >= self._options.max_inflight_requests:
            raise Refused(self.overloaded)
        self.requests += 1
        return Slot(self)

    def _grow(self, slot: Slot, size: int) -> None:
        if self.bytes + size > self._options.max_inflight_bytes:
            raise Refused(self.overloaded)
        self.bytes += size
        slot.bytes += size

    def _arrive(self, slot: Slot, size: int) -> None:
        now = asyncio.get_running_loop().time()
        while self._arriving_bytes + size > self._options.max_arriving_bytes:
            silent = next((each for each in self._arriving if each is not slot), None)
            if silent is None or now - self._arriving[silent] < STALLED_S:
                raise Refused(self.overloaded)
            silent.evict()
        self._grow(slot, size)
        self._arriving_bytes += size
        self._arriving.pop(slot, None)
        self._arriving[slot] = now

    def _arrived(self, slot: Slot) -> None:
        if self._arriving.pop(slot, None) is not None:
            self._arriving_bytes -= slot.bytes


class Slot:
    """One request's share."""

    __slots__ = ("_inflight", "_task", "bytes", "evicted")

    def __init__(self, inflight: InFlight) -> None:
        self._inflight = inflight
        self._task: asyncio.Task[object] | None = None
        self.bytes = 0
        self.evicted = False
        """It made room for another: what it held is not counted any more, and its task was cancelled in its wait."""

    def arrive(self, size: int) -> None:
        """So many bytes of a body came, and more are to come. Raises `Refused`, and then they are not held."""
        self._task = self._task or asyncio.current_task()
        self._inflight._arrive(self, size)  # noqa: SLF001 - the two are one

    def arrived(self, size: int) -> None:
        """These were the last of it. Raises `Refused`, and then they are not held."""
        self._inflight._arrived(self)  # noqa: SLF001
        self.grow(size)

    def grow(self, size: int) -> None:
        """This request holds so many bytes more. Raises `Refused`, and then it does not."""
        self._inflight._grow(self, size)  # noqa: SLF001

    def answer(self, size: int) -> None:
        """It holds its answer now, and nothing else. Never refused: what is stored has to be answered."""
        self._inflight._arrived(self)  # noqa: SLF001
        self._inflight.bytes += size - self.bytes
        self.bytes = size

    def evict(self) -> None:
        """Make room: the reader of this body, which waits for more of it, is cancelled."""
        self.evicted = True
        self.answer(0)
        if self._task is not None:
            self._task.cancel()

    def leave(self) -> None:
        """The request is answered, to the last byte, or nobody is there to answer. Once only."""
        self.answer(0)
        self._inflight.requests -= 1
