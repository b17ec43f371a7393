"""The systems that are measured side by side, each by one run on an empty bucket with a group that knows nothing."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from tests.services.kafka import free_ports

from benchmarks.processes import Measured, Run, run_of
from benchmarks.stage import Bucket, Stage, empty_bucket, without_settings

RUN_S = 900.0
"""Longer than the slowest peer needs for a few million records."""

START_S = 60.0


def yardstick(name: str, stage: Stage, records: int, folder: Path) -> Run:
    """`consume` or `bare`."""
    with empty_bucket() as bucket:
        arguments = [stage.bootstrap, stage.topic, str(stage.partitions), str(records)]
        child = Measured(
            [sys.executable, "-m", "benchmarks.yardsticks", name, *arguments],
            without_settings(os.environ) | bucket.environment,
            folder / f"{name}.log",
        )
        if child.wait(RUN_S):
            raise RuntimeError(f"{name}: {child.log.read_text()[-1500:]}")
    return run_of([child], records)


class Consumer:
    """One `streamlake consumer` process."""

    def __init__(self, stage: Stage, environment: Mapping[str, str], log: Path) -> None:
        [self._port] = free_ports(1)
        command = [sys.executable, "-m", "streamlake", "consumer", "--dataset", stage.dataset]
        self.child = Measured([*command, "--http-port", str(self._port)], environment, log)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=10).text
        except httpx.TransportError:
            return 0.0
        return sum(float(found) for found in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def streamlake(
    stage: Stage, part_format: str, records: int, folder: Path, *, processes: int = 1, settings: Mapping[str, str] = {}
) -> Run:
    """StreamLake as its users run it, until all is landed and committed."""
    stage.forget_group()
    with empty_bucket() as bucket:
        return streamlake_on(bucket, stage, part_format, records, folder, processes=processes, settings=settings)


def streamlake_on(
    bucket: Bucket,
    stage: Stage,
    part_format: str,
    records: int,
    folder: Path,
    *,
    processes: int = 1,
    settings: Mapping[str, str] = {},
) -> Run:
    """The same, on a bucket that may hold something.

    The last part of a log that has ended waits for its age, so that it does not count towards the speed: when all is
    consumed the processes are told to stop, which lands and commits what they have.
    """
    environment = without_settings(os.environ) | stage.environment(part_format) | bucket.environment | dict(settings)
    consumers = [Consumer(stage, environment, folder / f"streamlake-{n}.log") for n in range(processes)]
    children = [consumer.child for consumer in consumers]
    for child in children:
        child.until(lambda: children[0].began is not None or children[-1].began is not None, START_S)
    _until_consumed(consumers, records)
    for child in children:
        child.process.terminate()
    for child in children:
        if child.wait(START_S):
            raise RuntimeError(f"streamlake consumer: {child.log.read_text()[-1500:]}")
    if not stage.is_landed():
        raise RuntimeError(f"streamlake: committed {stage.committed()} of {stage.ends()}")
    return run_of([child for child in children if child.began is not None], records)


def _until_consumed(consumers: list[Consumer], records: int) -> None:
    """Ask ever more often as the end comes near: each answer costs the measured process a millisecond."""
    deadline = time.monotonic() + RUN_S
    began = time.monotonic()
    while (seen := sum(consumer.metric("streamlake_consumed_records_total") for consumer in consumers)) < records:
        if time.monotonic() > deadline:
            raise RuntimeError(f"streamlake: {seen:.0f} of {records} consumed after {RUN_S:.0f} s")
        left_s = (records - seen) / max(1.0, seen) * (time.monotonic() - began)
        until = time.monotonic() + min(1.0, max(0.03, left_s / 2))
        while time.monotonic() < until:
            for consumer in consumers:
                if not consumer.child.look():
                    raise RuntimeError(f"streamlake consumer ended: {consumer.child.log.read_text()[-1500:]}")
            time.sleep(0.02)
