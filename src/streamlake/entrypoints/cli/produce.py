"""`streamlake produce`: NDJSON into the event log, through the same use case as the HTTP API."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.use_cases.ingest_events import Accepted, EventOutcome, IngestRequest, Rejected
from streamlake.entrypoints.cli.wiring import wired

BATCH = 500
AT_ONCE = 8
"""Batches under way: enough to keep the producer busy, few enough to bound the memory."""


class Tally:
    """Outcomes counted as they come in, from the writer's thread."""

    def __init__(self) -> None:
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """What the first fault of each kind said."""
        self._lock = threading.Lock()

    def add(self, outcomes: Sequence[EventOutcome]) -> None:
        """Count a batch."""
        with self._lock:
            for outcome in outcomes:
                if isinstance(outcome, Accepted):
                    self.accepted += 1
                elif isinstance(outcome, Rejected):
                    self.rejected[error_class(outcome.violation)] += 1
                else:
                    kind = type(outcome.fault).__name__
                    self.failed[kind] += 1
                    self.first.setdefault(kind, str(outcome.fault))


@click.command()
@click.argument("dataset")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, exists=True), default="-")
@click.option("--schema-version", help="Contract version such as v1. Default: the newest.")
@click.option("--producer-service", default="streamlake-produce", show_default=True, help="Said in each record.")
@click.option("--idempotency-key", help="The same key and file again give the same ingestion ids. Default: a new one.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def produce(
    dataset: str,
    file: Path,
    schema_version: str | None,
    producer_service: str,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Ingest FILE (newline-delimited JSON; - or nothing: standard input) into DATASET, straight to the event log.

    Invalid events become dead letters. Exit 1 if there were any, 3 if events may not have been stored.
    """
    token = idempotency_key or secrets.token_hex(16)
    started = monotonic()
    tally = Tally()
    with wired(quiet=True) as container:
        ingest, clock = container.ingest(), container.clock()
        room = threading.BoundedSemaphore(AT_ONCE)

        def done(outcomes: Sequence[EventOutcome]) -> None:
            tally.add(outcomes)
            room.release()

        with EventBatches(file, show=not as_json) as batches:
            for number, batch in enumerate(batches):
                request = IngestRequest(dataset, schema_version, producer_service, f"{token}:{number}")
                room.acquire()
                ingest.ingest_batch(request, batch, clock.now(), done)
        for _ in range(AT_ONCE):
            room.acquire()
        container.writer().close(5)
    _report(tally, monotonic() - started, token, as_json)
    raise click.exceptions.Exit(3 if tally.failed else 1 if tally.rejected else 0)


class EventBatches:
    """Batches of lines, with a progress bar by bytes read."""

    def __init__(self, file: Path, *, show: bool) -> None:
        self._file = file
        known = str(file) != "-"
        self._stream: BinaryIO = file.open("rb") if known else sys.stdin.buffer
        columns: tuple[ProgressColumn, ...] = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
        self._progress = Progress(
            *columns, TaskProgressColumn(), TimeRemainingColumn(), console=Console(stderr=True), disable=not show
        )
        self._task = self._progress.add_task("events", total=file.stat().st_size if known else None)

    def __enter__(self) -> Iterator[list[bytes]]:
        self._progress.start()
        return self._batches()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._stream.close()

    def _batches(self) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        size = count = 0
        for line in self._stream:
            size += len(line)
            event = line.rstrip(b"\r\n")
            if event.strip():
                batch.append(event)
            if len(batch) == BATCH:
                count += len(batch)
                self._progress.update(self._task, completed=size, description=f"{count:,} events")
                yield batch
                batch = []
        if batch:
            yield batch
        self._progress.update(self._task, completed=size, description=f"{count + len(batch):,} events")


def _report(tally: Tally, seconds: float, token: str, as_json: bool) -> None:
    total = tally.accepted + tally.rejected.total() + tally.failed.total()
    rate = total / seconds if seconds else 0.0
    if as_json:
        told = {
            "accepted": tally.accepted,
            "rejected": dict(tally.rejected),
            "failed": dict(tally.failed),
            "seconds": round(seconds, 3),
            "events_per_second": round(rate, 1),
            "idempotency_key": token,
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"accepted  {tally.accepted:,}")
    for reason, count in tally.rejected.most_common():
        click.echo(f"rejected  {count:,}  {reason}: in the dead-letter topic")
    for fault, count in tally.failed.most_common():
        click.echo(f"failed    {count:,}  {tally.first[fault]}")
    if tally.failed:
        click.echo(f"run it again with --idempotency-key {token}: what was stored already can then be recognised")
    click.echo(f"{total:,} events in {seconds:.1f} s, {rate:,.0f} events/s")
