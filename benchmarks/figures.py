"""What was measured, where and with what: kept as JSON, summed up as min, median and max, and compared."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import psutil

from benchmarks.processes import Run

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("confluent-kafka", "google-cloud-storage", "orjson", "pydantic", "pyarrow")

ALONE = "consume() alone"
BARE = "bare loop, json.gz, no guarantees"
OURS = "StreamLake, "


def ours(part_format: str, processes: int = 1) -> str:
    """How StreamLake's runs are named."""
    return f"{OURS}{part_format}" + ("" if processes == 1 else f", {processes} processes")


@dataclass
class Landing:
    """The runs of `python -m benchmarks.landing`."""

    records: int
    rounds: int
    about: Mapping[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Systems not measured, and why."""

    def figure(self, system: str, of: Callable[[Run], float]) -> tuple[float, float, float]:
        """Min, median, max."""
        values = sorted(map(of, self.runs[system]))
        return values[0], median(values), values[-1]

    def ratio(self, system: str, to: str, of: Callable[[Run], float]) -> float | None:
        """The median of the ratios round by round: what disturbs a round disturbs both."""
        pairs = list(zip(self.runs.get(system, []), self.runs.get(to, []), strict=False))
        return median(of(mine) / of(other) for mine, other in pairs) if pairs else None

    def save(self, path: Path) -> None:
        """Write it, with the figures beside the runs for whoever reads only the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class Point:
    """What landing costs at one point of a shape: the median of its rounds."""

    shape: str
    at: str
    records: int
    record_bytes: int
    cpu_per_million: float
    records_per_s: float
    rss_mib: float
    start_s: float
    """From the process' start to its first poll: settings, imports, joining the group, listing prefixes."""

    @property
    def by_size(self) -> bool:
        """Are its records so unlike the other points' that bytes are what to compare?"""
        return self.shape == "bytes per event"

    @property
    def unit(self) -> str:
        """What `cost` counts."""
        return "CPU s per GB" if self.by_size else "CPU s per million records"

    @property
    def cost(self) -> float:
        """What is to stay flat."""
        return self.cpu_per_million / self.record_bytes * 1000 if self.by_size else self.cpu_per_million

    @property
    def mb_per_s(self) -> float:
        """The speed in payload bytes."""
        return self.records_per_s * self.record_bytes / 1e6


def shapes_table(points: Sequence[Point]) -> str:
    """The shapes as Markdown."""
    lines = [
        "| shape | at | records | CPU s per million | CPU s per GB | records/s | MB/s | peak RSS, MiB | start, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.shape} | {p.at} | {p.records:,} | {p.cpu_per_million:,.1f} "
        f"| {p.cpu_per_million / p.record_bytes * 1000:.0f} | {p.records_per_s:,.0f} | {p.mb_per_s:,.1f} "
        f"| {p.rss_mib:.0f} | {p.start_s:.1f} |"
        for p in points
    ]
    return "\n".join(lines)


def load_landing(path: Path) -> Landing:
    """`save` undone."""
    told = json.loads(path.read_text())
    told["runs"] = {system: [Run(**run) for run in runs] for system, runs in told["runs"].items()}
    return Landing(**told)


def about() -> dict[str, str]:
    """The machine, the versions, the commit and the moment."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def table(landing: Landing) -> str:
    """The figures as Markdown; also what is printed."""
    lines = [
        "| system | records/s: min / median / max | of consume() | CPU s per million | of bare loop | peak RSS, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for system in landing.runs:
        speeds = " / ".join(f"{value:,.0f}" for value in landing.figure(system, lambda run: run.records_per_s))
        cpu = landing.figure(system, lambda run: run.cpu_per_million)
        share = landing.ratio(system, ALONE, lambda run: run.records_per_s)
        dearer = landing.ratio(system, BARE, lambda run: run.cpu_per_million)
        peak = landing.figure(system, lambda run: run.rss_mib)[2]
        lines.append(
            f"| {system} | {speeds} | {_two(share)} | {cpu[0]:.1f} / {cpu[1]:.1f} / {cpu[2]:.1f} "
            f"| {_two(dearer)} | {peak:,.0f} |"
        )
    lines += [f"| {system} | {why} | | | | |" for system, why in landing.absent.items()]
    return "\n".join(lines)


def verdict(landing: Landing, goals: Sequence[tuple[str, float | None, str, float]]) -> str:
    """One line: each goal with its figure, and whether it is reached."""
    told = []
    for name, value, sign, goal in goals:
        if value is not None:
            reached = value >= goal if sign == ">=" else value <= goal
            told.append(f"{name} {value:,.{0 if goal > 10 else 2}f} ({'' if reached else 'NOT '}{sign} {goal:g})")
    return "bench: " + "; ".join(told)


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"
