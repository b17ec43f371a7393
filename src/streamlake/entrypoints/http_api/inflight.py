"""How much may be going on at once. Past it the answer is 503 at once: a queue would only make everybody late."""

from __future__ import annotations

from streamlake.entrypoints.http_api.problems import Problem, Refused


class InFlight:
    """Requests and bytes not answered yet, each with a bound. Used on the event loop's thread only."""

    def __init__(self, max_requests: int, max_bytes: int, retry_after_s: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._overloaded = Problem(
            "overloaded",
            "As many requests or bytes as this server holds are in flight.",
            headers=((b"retry-after", b"%d" % retry_after_s),),
        )
        self.requests = 0
        self.bytes = 0

    def enter(self) -> Slot:
        """A place for one request, to be left by the one who entered. Raises `Refused`."""
        if self.requests >= self._max_requests:
            raise Refused(self._overloaded)
        self.requests += 1
        return Slot(self)

    def _grow(self, size: int) -> None:
        if self.bytes + size > self._max_bytes:
            raise Refused(self._overloaded)
        self.bytes += size


class Slot:
    """One request's share."""

    __slots__ = ("_bytes", "_inflight")

    def __init__(self, inflight: InFlight) -> None:
        self._inflight = inflight
        self._bytes = 0

    def grow(self, size: int) -> None:
        """This request holds so many bytes more. Raises `Refused`, and then it does not."""
        self._inflight._grow(size)  # noqa: SLF001 - the two are one
        self._bytes += size

    def leave(self) -> None:
        """The request is answered. Once only."""
        self._inflight.requests -= 1
        self._inflight.bytes -= self._bytes
