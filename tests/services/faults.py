"""What can befall a request to a store, and who decides that it does: seeded, counted, safe for use by several threads.

REFUSED    an answer of 408, 429, 500 or 503; nothing was applied
DENIED     401, 403, 404: what an operator has done
reset, silent                        nothing was applied, and no answer comes
applied-503, -reset, -silent         applied, and the answer is lost
late                                 applied after the client gave up
slow-request, slow-answer            bodies that trickle
corrupt-request, corrupt-answer      a byte of the object's body is another one
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """One class of fault; its value is its name in figures and logs."""

    REQUEST_TIMEOUT = "408"
    TOO_MANY_REQUESTS = "429"
    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    RESET = "reset"
    SILENT = "silent"
    APPLIED_503 = "applied-503"
    APPLIED_RESET = "applied-reset"
    APPLIED_SILENT = "applied-silent"
    LATE = "late"
    SLOW_REQUEST = "slow-request"
    SLOW_ANSWER = "slow-answer"
    CORRUPT_REQUEST = "corrupt-request"
    CORRUPT_ANSWER = "corrupt-answer"


REFUSED = (Fault.REQUEST_TIMEOUT, Fault.TOO_MANY_REQUESTS, Fault.INTERNAL_ERROR, Fault.UNAVAILABLE)
DENIED = (Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.NOT_FOUND)
PASSING = tuple(fault for fault in Fault if fault not in DENIED)
"""What passes by itself: the world's faults."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a fault may choose by."""

    method: str
    target: str
    """Path and query."""

    @property
    def uploads(self) -> bool:
        """Does it carry an object up?"""
        return self.method in ("POST", "PUT") and self.target.startswith("/upload/")

    @property
    def downloads(self) -> bool:
        """Does it fetch an object's body?"""
        return self.method == "GET" and ("alt=media" in self.target or self.target.startswith("/download/"))


Choice = Callable[[Request], bool]


def fits(fault: Fault, request: Request) -> bool:
    """Can this fault befall this request at all? A lost answer matters only where something was applied."""
    if fault in (Fault.CORRUPT_ANSWER, Fault.SLOW_ANSWER):
        return request.downloads if fault is Fault.CORRUPT_ANSWER else not request.uploads
    if fault.value.startswith("applied") or fault in (Fault.LATE, Fault.SLOW_REQUEST, Fault.CORRUPT_REQUEST):
        return request.uploads
    return True


@dataclass(slots=True)
class _Rule:
    fault: Fault
    chance: float
    left: float
    choice: Choice


@dataclass(frozen=True, slots=True)
class Befallen:
    """One request that a fault has befallen."""

    at: float
    fault: Fault
    request: Request


class Faults:
    """Which faults are on just now. `begin`, `end` and the figures may be used from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self.slow_s = 1.5
        """How long a slow body takes."""
        self.late_s = 0.5
        """How long after the client gave up a late request is applied."""
        self.counts: Counter[Fault] = Counter()
        """How many requests each fault has befallen; a late one counts when it is applied."""
        self.history: list[Befallen] = []
        self.requests = 0
        self._pending = 0
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def begin(
        self, fault: Fault, chance: float = 1.0, times: float = float("inf"), choice: Choice = lambda _: True
    ) -> None:
        """From now on: to every fitting request that `choice` takes, with that chance, `times` times at most."""
        with self._lock:
            self._rules.append(_Rule(fault, chance, times, choice))

    def end(self, *faults: Fault) -> None:
        """These faults are over; without any, all are. What is held already is held on."""
        with self._lock:
            self._rules = [rule for rule in self._rules if faults and rule.fault not in faults]

    @property
    def pending(self) -> int:
        """Requests that are held and may yet be applied."""
        with self._lock:
            return self._pending

    def figures(self) -> Mapping[str, int]:
        """Fault -> count, of those that came to pass."""
        with self._lock:
            return {fault.value: self.counts[fault] for fault in Fault if self.counts[fault]}

    def draw(self, request: Request) -> Fault | None:
        """The fault that befalls this request, if any. For the proxy."""
        with self._lock:
            self.requests += 1
            for rule in self._rules:
                if (
                    rule.left > 0
                    and fits(rule.fault, request)
                    and rule.choice(request)
                    and self._dice.random() < rule.chance
                ):
                    rule.left -= 1
                    if rule.fault is Fault.LATE:
                        self._pending += 1
                    else:
                        self._note(rule.fault, request)
                    return rule.fault
        return None

    def settled_late(self, request: Request, *, applied: bool) -> None:
        """A late request is not held any more. For the proxy."""
        with self._lock:
            self._pending -= 1
            if applied:
                self._note(Fault.LATE, request)

    def _note(self, fault: Fault, request: Request) -> None:
        self.counts[fault] += 1
        self.history.append(Befallen(time.time(), fault, request))
