"""What one run amounts to: a line of figures for people, an object for tables, a folder for whoever has to find out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.services.faults import Befallen
from tests.torture.fleet import Event
from tests.torture.observer import Observer
from tests.torture.plan import Plan


@dataclass
class Report:
    """One run's figures. It passed if nothing is broken."""

    seed: int
    seconds: float
    brokers: int
    broken: list[str] = field(default_factory=list)
    records: int = 0
    """Offsets of the raw topic at the end."""
    accepted: int = 0
    """Events answered 2xx."""
    letters: int = 0
    parts: int = 0
    kills: int = 0
    """kill -9 of processes: consumers and API."""
    stops: int = 0
    terms: int = 0
    broker_faults: int = 0
    store_faults: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    missing: int = 0
    recovery_s: float | None = None
    """From the end of faults to lag 0; None: not reached."""
    takeover_s: Sequence[float] = ()
    """Per kill -9 of a consumer: until all its partitions were read again, whatever else was broken just then."""
    exit_s: Sequence[float] = ()
    looks: int = 0
    """How often the observer compared everything."""
    blind: Mapping[str, int] = field(default_factory=dict)
    regressions: int = 0
    restarts: int = 0
    rss_mb: int = 0

    @property
    def passed(self) -> bool:
        """Did every promise hold?"""
        return not self.broken

    def line(self) -> str:
        """The figures, and the verdict first."""
        recovery = "never" if self.recovery_s is None else f"{self.recovery_s:.1f} s"
        takeover = f"{max(self.takeover_s):.1f} s at most of {len(self.takeover_s)}" if self.takeover_s else "none"
        store = " ".join(f"{name}:{count}" for name, count in self.store_faults.items())
        return (
            f"torture: {'passed' if self.passed else 'FAILED'} seed={self.seed} brokers={self.brokers}"
            f" {self.seconds:.0f} s: {self.records} records ({self.accepted} by HTTP), {self.letters} letters,"
            f" {self.parts} parts; {self.kills} kills, {self.stops} stops, {self.terms} terms,"
            f" {self.broker_faults} broker faults, {sum(self.store_faults.values())} store faults ({store});"
            f" duplicates {self.duplicates}, missing {self.missing}, recovery {recovery}, take-over {takeover},"
            f" SIGTERM {max(self.exit_s, default=0):.1f} s at most, {self.looks} looks, {self.restarts} restarts,"
            f" RSS {self.rss_mb} MB"
        )

    def append_to(self, file: Path) -> None:
        """One JSON object a line."""
        with file.open("a") as out:
            out.write(json.dumps(asdict(self) | {"passed": self.passed}) + "\n")


def keep_history(
    folder: Path, report: Report, plan: Plan, events: Sequence[Event], befallen: Sequence[Befallen], observer: Observer
) -> None:
    """Beside the processes' logs: the plan, what happened when, what befell the store, and the parts with claims."""
    lines: dict[str, list[object]] = {
        "report.json": [asdict(report)],
        "plan.jsonl": [{"lane": lane} | asdict(step) for lane, steps in plan.items() for step in steps],
        "events.jsonl": [asdict(event) for event in events],
        "store-faults.jsonl": [
            {"at": b.at, "fault": b.fault.value, "method": b.request.method, "target": b.request.target}
            for b in befallen
        ],
        "parts.jsonl": [asdict(info) for _, info in sorted(observer.parts.items())],
    }
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
