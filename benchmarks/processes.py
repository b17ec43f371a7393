"""A measured process: when it read first, when it was done, what CPU and memory that took. Seen from outside.

What is measured says in its log, one JSON object a line, `"event": "reading"` before its first poll and, at its end,
`"event": "committed"`: StreamLake does, and the yardsticks do alike. Starting and importing are not counted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from tests.services.kafka import spawn

LOOK_S = 0.02
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one system."""

    records: int
    seconds: float
    """From the first poll to everything landed and committed."""
    cpu_s: float
    """User and system time of the process, or of all of them together, within that."""
    rss_mib: float
    """Peak resident memory; of several processes the largest one's."""
    start_s: float = 0.0
    """From the process' start to its first poll."""

    @property
    def records_per_s(self) -> float:
        """The speed."""
        return self.records / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds per million records."""
        return self.cpu_s / self.records * 1e6


class Measured:
    """A child process under observation: call `look` often."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.began: float | None = None
        """When it read first, epoch seconds."""
        self.done: float | None = None
        """When it last committed."""
        self.ended = False
        self.cpu_before = 0.0
        self.cpu_s = 0.0
        self.peak_mib = 0.0
        self._read = 0
        self.events: list[dict[str, Any]] = []
        self.spawned = time.time()
        with log.open("wb") as output:
            self.process = spawn(command, output.fileno(), environment)
        self._seen = psutil.Process(self.process.pid)

    def look(self) -> None:
        """Note what it has used and said."""
        self.ended = self.process.poll() is not None
        if not self.ended:
            self._sample()
        for event in self._news():
            self.events.append(event)
            if event.get("event") == "reading" and self.began is None:
                self.begin(_epoch(event))
            elif event.get("event") == "committed":
                self.done = _epoch(event)

    def begin(self, at: float) -> None:
        """What was used before counts as starting up."""
        self.began, self.cpu_before = at, self.cpu_s

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-1500:]

    def _sample(self) -> None:
        try:
            times = self._seen.cpu_times()
            self.cpu_s = times.user + times.system
            self.peak_mib = max(self.peak_mib, _peak_mib(self._seen))
        except psutil.Error:
            return

    def _news(self) -> list[dict[str, Any]]:
        with self.log.open("rb") as lines:
            lines.seek(self._read)
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


def run_of(children: Sequence[Measured], records: int) -> Run:
    """What ended children have done together."""
    began = [child.began for child in children if child.began is not None]
    done = [child.done for child in children if child.done is not None]
    if not began or not done:
        raise RuntimeError(f"{children[0].log}: says neither when it began nor when it was done")
    return Run(
        records,
        max(done) - min(began),
        sum(child.cpu_s - child.cpu_before for child in children),
        max(child.peak_mib for child in children),
        min(began) - min(child.spawned for child in children),
    )


def say(event: str, **more: object) -> None:
    """A line of a yardstick's log."""
    print(json.dumps({"event": event, "timestamp": datetime.now().astimezone().isoformat(), **more}), flush=True)


def _epoch(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _peak_mib(process: psutil.Process) -> float:
    """The kernel's own high-water mark; where there is no /proc the samples have to do."""
    status = Path(f"/proc/{process.pid}/status")
    if os.name == "posix" and status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float(process.memory_info().rss) / MIB
