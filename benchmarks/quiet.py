"""A topic on which nothing happens, and then one event."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.events import load
from benchmarks.processes import Measured
from benchmarks.stage import Bucket, Stage, empty_bucket, without_settings
from benchmarks.systems import START_S, Consumer, until

SETTLE_S = 5.0
WATCH_S = 20.0
MAX_AGE_S = 2.0
EVENTS = 8
PATIENCE_S = MAX_AGE_S + 20


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a consumer of a quiet topic costs, and how late an event on it is landed."""

    idle_core: float
    """The share of a core it uses."""
    rss_mib: float
    latest_s: float
    """The longest time from an event's acknowledgement to its part, beyond the max age."""

    def __str__(self) -> str:
        return (
            f"quiet topic: {self.idle_core:.2%} of a core, {self.rss_mib:.0f} MiB; "
            f"an event is landed within max age + {self.latest_s:.2f} s"
        )


def quiet(stage: Stage, folder: Path, part_format: str) -> Quiet:
    """Watch a consumer at rest, then time single events (with a max age of 2 s, to see many)."""
    with empty_bucket() as bucket:
        environment = without_settings(os.environ) | stage.environment(part_format) | bucket.environment
        environment["STREAMLAKE_LANDING__MAX_AGE_S"] = str(MAX_AGE_S)
        child = Consumer(stage, environment, folder / "quiet.log").child
        try:
            return _watched(child, stage, bucket)
        finally:
            child.process.terminate()
            child.process.wait(START_S)


def _watched(child: Measured, stage: Stage, bucket: Bucket) -> Quiet:
    dice = random.Random(1)
    until([child], lambda: child.began is not None, START_S)
    _rest(child, SETTLE_S)
    before = child.cpu_s
    _rest(child, WATCH_S)
    idle = (child.cpu_s - before) / WATCH_S
    rss = psutil.Process(child.process.pid).memory_info().rss / 2**20
    latest = 0.0
    for number in range(1, EVENTS + 1):
        _rest(child, dice.uniform(0, 1))
        load(stage.bootstrap, 1, dataset=stage.dataset)
        sent = time.monotonic()
        while bucket.parts() < number:
            if time.monotonic() - sent > PATIENCE_S:
                raise RuntimeError(f"quiet: event {number} is not landed: {child.tail()}")
            time.sleep(0.01)
        latest = max(latest, time.monotonic() - sent - MAX_AGE_S)
    return Quiet(idle, rss, latest)


def _rest(child: Measured, seconds: float) -> None:
    ends = time.monotonic() + seconds
    until([child], lambda: time.monotonic() >= ends, seconds + START_S)
