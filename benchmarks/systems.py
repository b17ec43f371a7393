"""The systems that are measured side by side, each by one run on an empty bucket with a group that knows nothing."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import httpx
from tests.services.kafka import free_ports

from benchmarks.processes import LOOK_S, Measured, Run, run_of
from benchmarks.stage import Bucket, Stage, empty_bucket, without_settings

RUN_S = 900.0
"""Longer than the slowest peer needs for a few million records."""

START_S = 60.0
STREAMLAKE = (sys.executable, "-m", "streamlake")


def yardstick(name: str, stage: Stage, records: int, folder: Path) -> Run:
    """`consume` or `bare`."""
    with empty_bucket() as bucket:
        arguments = [stage.bootstrap, stage.topic, str(stage.partitions), str(records)]
        child = Measured(
            [sys.executable, "-m", "benchmarks.yardsticks", name, *arguments],
            without_settings(os.environ) | bucket.environment,
            folder / f"{name}.log",
        )
        until([child], lambda: child.ended, RUN_S)
        if child.process.returncode:
            raise RuntimeError(f"{name}: {child.tail()}")
    return run_of([child], records)


class Consumer:
    """One `streamlake consumer` process."""

    def __init__(
        self, stage: Stage, environment: Mapping[str, str], log: Path, command: Sequence[str] = STREAMLAKE
    ) -> None:
        [self._port] = free_ports(1)
        arguments = ["consumer", "--dataset", stage.dataset, "--http-port", str(self._port)]
        self.child = Measured([*command, *arguments], environment, log)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=10).text
        except httpx.TransportError:
            return 0.0
        return sum(float(found) for found in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def streamlake(
    stage: Stage,
    part_format: str,
    records: int,
    folder: Path,
    *,
    processes: int = 1,
    command: Sequence[str] = STREAMLAKE,
    bucket: Bucket | None = None,
) -> Run:
    """StreamLake as its users run it, until all is landed and committed; on an empty bucket, or the given one.

    The last part of a log that has ended waits for its age. So that this does not count as slowness, the processes are
    told to stop when all is consumed: they land and commit what they have.
    """
    stage.forget_group()
    with nullcontext(bucket) if bucket else empty_bucket() as store:
        environment = without_settings(os.environ) | stage.environment(part_format) | store.environment
        consumers = [Consumer(stage, environment, folder / f"streamlake-{n}.log", command) for n in range(processes)]
        children = [consumer.child for consumer in consumers]
        until(children, lambda: any(child.began for child in children), START_S)
        _until_consumed(consumers, records)
        for child in children:
            child.process.terminate()
        until(children, lambda: all(child.ended for child in children), START_S)
        for child in children:
            if child.process.returncode:
                raise RuntimeError(f"{child.log.name}: ended with {child.process.returncode}: {child.tail()}")
    if not stage.is_landed():
        raise RuntimeError(f"streamlake: committed {stage.committed()} of {stage.ends()}")
    return run_of(children, records)


def until(children: Sequence[Measured], condition: Callable[[], bool], within_s: float) -> None:
    """Look at all of them until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        for child in children:
            child.look()
        if time.monotonic() > deadline or all(child.ended for child in children):
            if condition():
                return
            raise RuntimeError(f"{children[0].log.name}: {children[0].tail()}")
        time.sleep(LOOK_S)


def _until_consumed(consumers: Sequence[Consumer], records: int) -> None:
    """Ask ever more often as the end comes near: each answer costs the measured process a millisecond."""
    children = [consumer.child for consumer in consumers]
    began = time.monotonic()
    while (seen := sum(consumer.metric("streamlake_consumed_records_total") for consumer in consumers)) < records:
        if time.monotonic() - began > RUN_S:
            raise RuntimeError(f"streamlake: {seen:.0f} of {records} consumed after {RUN_S:.0f} s")
        left_s = (records - seen) / max(1.0, seen) * (time.monotonic() - began)
        again = time.monotonic() + min(1.0, max(0.03, left_s / 2))
        until(children, lambda again=again: time.monotonic() >= again, RUN_S)  # type: ignore[misc]
