"""The processes of a world, under a supervisor that starts again what ended by itself, and what is done to them."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from tests.integration.faulty import FaultyWorld
from tests.integration.system import Child

EXIT_S = 30.0
"""SIGTERM to the end, promised."""

LISTENS_S = 20.0
RESTART_S = 1.0
NOT_AVAILABLE = 3
"""The exit code of a start while log or store is away: the supervisor tries again, as any would."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or happened, to one victim."""

    at: float
    victim: str
    what: str
    detail: str = ""


class Diary:
    """Everything that happened, in order, from every thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, victim: str, what: str, detail: str = "") -> None:
        """Write it down, with the time."""
        self.events.append(Event(time.time(), victim, what, detail))

    def count(self, what: str, victim: str = "") -> int:
        """How often something happened to victims of that name's beginning."""
        return sum(event.what == what and event.victim.startswith(victim) for event in self.events)


class Member:
    """One process that is meant to run, in the incarnation it has now."""

    def __init__(self, world: FaultyWorld, diary: Diary, name: str, arguments: list[str]) -> None:
        self.name = name
        self.broken: list[str] = []
        self.exit_s: list[float] = []
        """How long each SIGTERM took."""
        self._world = world
        self._diary = diary
        self._arguments = arguments
        self._lock = threading.Lock()
        self._wanted = True
        self.child = world.launch(name, *arguments)

    def _start(self) -> Child:
        self.child = self._world.launch(self.name, *self._arguments, port=self.child.port)
        self._diary.note(self.name, "start", str(self.child.process.pid))
        return self.child

    @property
    def listens(self) -> bool:
        """Does it answer over HTTP at all?"""
        return self.child.process.poll() is None and self.child.get("/livez") is not None

    def kill(self, down_s: float, given_up: threading.Event) -> None:
        """kill -9, and a new one after a while."""
        with self._lock:
            self._diary.note(self.name, "kill", str(self.child.process.pid))
            self.child.kill()
            given_up.wait(down_s)
            self._start()

    def stop(self, seconds: float, given_up: threading.Event) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        with self._lock:
            if self.child.process.poll() is None:
                self._diary.note(self.name, "stop", f"{seconds:.1f} s")
                self.child.send(signal.SIGSTOP)
                given_up.wait(seconds)
                self.child.send(signal.SIGCONT)
                self._diary.note(self.name, "continue")

    def term(self, down_s: float, given_up: threading.Event) -> None:
        """SIGTERM, and a new one after a while. One that has not come up yet is given the time for it first."""
        self._wait_until_listening()
        with self._lock:
            self._terminate(judged=self.listens)
            given_up.wait(down_s)
            self._start()

    def retire(self) -> None:
        """SIGTERM for good."""
        self._wait_until_listening()
        with self._lock:
            self._wanted = False
            self._terminate(judged=True)

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + LISTENS_S
        while not self.listens and time.monotonic() < deadline:
            time.sleep(0.2)

    def revive(self) -> None:
        """Start it again where it ended by itself. For the supervisor."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            code = self.child.process.poll()
            if self._wanted and code is not None:
                self._diary.note(self.name, "exit", str(code))
                if code != NOT_AVAILABLE:
                    self.broken.append(f"{self.name} ended by itself with {code}")
                time.sleep(RESTART_S)
                self._start()
        finally:
            self._lock.release()

    def _terminate(self, *, judged: bool) -> None:
        if self.child.process.poll() is not None:
            return
        began = time.monotonic()
        try:
            code = self.child.terminate(EXIT_S + 5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = -9
        took = time.monotonic() - began
        self._diary.note(self.name, "term", f"exit {code} after {took:.1f} s{'' if judged else ', not up yet'}")
        # Or it had refused to start just before: a denied look at the bucket is for an operator to mend.
        if judged and code != NOT_AVAILABLE:
            self.exit_s.append(took)
            # It answers before it has begun; one that is refused then ends with 3, and one that runs never does.
            if code not in (0, NOT_AVAILABLE) or took > EXIT_S:
                self.broken.append(f"{self.name}: SIGTERM ended with {code} after {took:.1f} s")


class Supervisor:
    """Looks after members, in a thread."""

    def __init__(self, members: list[Member]) -> None:
        self._members = members
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is started again from now on."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            for member in self._members:
                member.revive()
