"""`streamlake produce`: NDJSON into a dataset, straight to the event log or over HTTP."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Protocol

import click
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from streamlake.domain.errors import SettingsInvalid
from streamlake.domain.model.contracts import DATASET_NAME
from streamlake.domain.model.envelope import IDEMPOTENCY_KEY, PRODUCER_SERVICE_NAME
from streamlake.domain.use_cases.ingest_events import IngestRequest
from streamlake.entrypoints.cli.letters_told import printable
from streamlake.entrypoints.cli.progress import shown_on_terminals
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.produce.batches import START, Batch, Place, batches
from streamlake.entrypoints.produce.checkpoint import Checkpoint, Job, beginning_of_rest, head_of, load
from streamlake.entrypoints.produce.run import RejectsFile, Run
from streamlake.entrypoints.produce.straight import StraightSender
from streamlake.entrypoints.telemetry import configure_logging

BATCH = 500
AT_ONCE = 8
"""Batches under way to the log: enough to keep the producer busy, few enough to bound the memory."""
INTERRUPTED_S = 5.0
"""How long an interrupted run waits for answers to what it has sent."""
MAX_TOKEN = 180
"""Of an API's 200: the batch's number is put behind it."""

_VERSION = re.compile(r"v[1-9][0-9]{0,3}")
_FILE = click.Path(path_type=Path, dir_okay=False)
_SIZE, _FEW, _SECONDS = click.IntRange(1, 10_000), click.IntRange(1, 64), click.FloatRange(0)


class Sender(Protocol):
    """Either way of sending."""

    def send(self, batch: Batch) -> None:
        """Begin; `done` is called with the result, perhaps on another thread."""

    def finish(self, within_s: float | None = None) -> None:
        """Wait for what is under way, `within_s` at most."""


def _checked(rule: re.Pattern[str], says: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A click callback: whichever way it is sent, a value that the API refuses is wrong usage."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and not rule.fullmatch(value):
            raise click.BadParameter(f"must be {says}")
        return value

    return check


def _token(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    says = f"1 to {MAX_TOKEN} printable ASCII characters, the first of them no space"
    if value is not None and (len(value) > MAX_TOKEN or value.startswith(" ")):  # HTTP takes that space away
        raise click.BadParameter(f"must be {says}")
    return _checked(IDEMPOTENCY_KEY, says)(context, parameter, value)


_DATASET = _checked(DATASET_NAME, f"a dataset's name: {DATASET_NAME.pattern}")
_SERVICE = _checked(PRODUCER_SERVICE_NAME, "1 to 100 of the characters A-Z a-z 0-9 . _ -")
_MAJOR = _checked(_VERSION, "a version such as v1")


@click.command()
@click.argument("dataset", callback=_DATASET)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False), default="-")
@click.option("--url", help="Send over HTTP to the API there (http://host:8080). Default: to the log itself.")
@click.option("--schema-version", callback=_MAJOR, help="Contract version such as v1. Default: the newest.")
@click.option(
    "--producer-service",
    default="streamlake-produce",
    show_default=True,
    callback=_SERVICE,
    help="Said in each record.",
)
@click.option(
    "--idempotency-key",
    callback=_token,
    help="The same key and file again give the same ingestion ids. Default: a new one.",
)
@click.option("--checkpoint", type=_FILE, help="Keep here how far it is, and go on from there.")
@click.option("--rejects", type=_FILE, help="Append the events refused to this file, with the reasons.")
@click.option("--batch-size", default=BATCH, show_default=True, type=_SIZE, help="Events of a batch.")
@click.option("--at-once", default=1, show_default=True, type=_FEW, help="HTTP requests at once; 1 keeps the order.")
@click.option("--patience", default=300.0, show_default=True, type=_SECONDS, help="Seconds to try one batch over HTTP.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def produce(
    dataset: str,
    file: Path,
    url: str | None,
    schema_version: str | None,
    producer_service: str,
    idempotency_key: str | None,
    checkpoint: Path | None,
    rejects: Path | None,
    batch_size: int,
    at_once: int,
    patience: float,
    as_json: bool,
) -> None:
    """Ingest FILE (newline-delimited JSON; - or nothing: standard input) into DATASET.

    Invalid events become dead letters. Over HTTP a batch that was not stored, or may not have been, is sent again under
    its key. With --checkpoint a run that was killed goes on where it was: nothing is lost, and what is sent twice has
    the same ingestion ids. Exit 1 if events were refused, 3 if events may not have been stored, 130 if interrupted.
    """
    job, start = _job(file, checkpoint, Job(dataset, producer_service, idempotency_key or "", batch_size, ""))
    run = Run(Checkpoint(checkpoint, job, start))
    began = monotonic()
    with ExitStack() as held:
        if rejects is not None:
            run.rejects = held.enter_context(closing(RejectsFile(rejects)))
        if url is None:
            sender = held.enter_context(_to_the_log(job, schema_version, run))
        else:
            sender = _to_the_api(url, job, schema_version, at_once, patience, run)
        interrupted = _send(sender, file, start, run, job.batch_size, show=not as_json)
        try:
            run.end()
        finally:
            _report(run, start, monotonic() - began, job.token, as_json)
    if run.tally.hopeless:
        click.echo("sending it again as it is does not help: what was refused is not stored", err=True)
    elif run.tally.failed or interrupted:
        again = f"--checkpoint {checkpoint}" if checkpoint else f"--idempotency-key {job.token}"
        click.echo(f"run it again with {again}: what was stored already has the same ingestion ids", err=True)
    if interrupted:
        raise click.Abort
    raise click.exceptions.Exit(3 if run.tally.failed else 1 if run.tally.rejected else 0)


def _send(sender: Sender, file: Path, start: Place, run: Run, size: int, *, show: bool) -> bool:
    """All of it, or as much as can be. True where the user has interrupted it."""
    with _reading(file, start, show=show) as (stream, progress):
        try:
            for batch in batches(stream, size, start):
                if run.failed.is_set():
                    break
                sender.send(batch)
                progress(batch)
            sender.finish()
        except KeyboardInterrupt:
            run.failed.set()
            sender.finish(INTERRUPTED_S)
            return True
    return False


def _job(file: Path, checkpoint: Path | None, wanted: Job) -> tuple[Job, Place]:
    """What to send and from where on: as an earlier run has left it, if it was the same job."""
    if checkpoint is None:
        return replace(wanted, token=wanted.token or secrets.token_hex(16)), START
    if str(file) == "-":
        raise click.UsageError("--checkpoint: needs a FILE: standard input cannot be read again")
    left = load(checkpoint)
    if left is None:
        job = replace(wanted, token=wanted.token or secrets.token_hex(16), head=head_of(file))
        Checkpoint(checkpoint, job).save()  # before the first event: or a run killed at once would not know its key
        return job, START
    job, sent = left
    if (size := file.stat().st_size) < sent.offset:
        sizes = f"{file} has {size:,} bytes, and {sent.offset:,} of it have been sent"
        raise click.UsageError(f"--checkpoint {checkpoint}: {sizes}: it was cut or replaced")
    same = replace(wanted, token=wanted.token or job.token, head=head_of(file, int(job.head.partition(":")[0])))
    for name, mine, theirs in zip(asdict(job), asdict(same).values(), asdict(job).values(), strict=True):
        if mine != theirs:
            said = "is another file's" if name == "head" else f"{name.replace('_', '-')} was {theirs}, is {mine}"
            raise click.UsageError(f"--checkpoint {checkpoint}: {said}")
    try:
        return job, beginning_of_rest(file, sent)
    except ValueError as torn:
        raise click.UsageError(f"--checkpoint {checkpoint}: {torn}") from None


@contextmanager
def _to_the_log(job: Job, schema_version: str | None, run: Run) -> Iterator[Sender]:
    def request(batch: Batch) -> IngestRequest:
        return IngestRequest(job.dataset, schema_version, job.producer_service, job.token_of(batch))

    with wired(quiet=True) as container:
        known = [each.version for each in container.catalog().versions(job.dataset)]
        if schema_version is not None and schema_version not in known:
            raise click.BadParameter(f"must be one of {', '.join(known)}", param_hint="--schema-version")
        yield StraightSender(container.ingest(), container.clock(), request, AT_ONCE, run)
        container.writer().close(5)


def _to_the_api(url: str, job: Job, schema_version: str | None, at_once: int, patience_s: float, run: Run) -> Sender:
    try:
        from streamlake.entrypoints.produce.over_http import HttpSender, endpoint
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"--url needs `pip install streamlake[client]` ({missing})") from None
    configure_logging("warning", json=False)
    try:
        where = endpoint(url, job.dataset)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--url") from None
    return HttpSender(where, job, schema_version, at_once=at_once, patience_s=patience_s, run=run)


@contextmanager
def _reading(file: Path, start: Place, *, show: bool) -> Iterator[tuple[BinaryIO, Callable[[Batch], None]]]:
    """The file from `start` on, and what moves the progress bar, by bytes sent."""
    known = str(file) != "-"
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    bar = shown_on_terminals(*columns, show=show)
    task = bar.add_task("events", total=file.stat().st_size if known else None, completed=start.offset)
    sent = 0

    def progress(batch: Batch) -> None:
        nonlocal sent
        sent += len(batch.events)
        bar.update(task, completed=batch.after.offset, description=f"{sent:,} events")

    with bar, file.open("rb") if known else nullcontext(sys.stdin.buffer) as stream:
        if known:
            stream.seek(start.offset)
        yield stream, progress


def _report(run: Run, start: Place, seconds: float, token: str, as_json: bool) -> None:
    tally = run.tally
    rate = tally.total / seconds if seconds else 0.0
    if as_json:
        told = {
            "accepted": tally.accepted,
            "rejected": dict(tally.rejected),
            "failed": dict(tally.failed),
            "resumed_after_line": start.line,
            "seconds": round(seconds, 3),
            "events_per_second": round(rate, 1),
            "idempotency_key": token,
        }
        click.echo(json.dumps(told))
        return
    if start.line:
        click.echo(f"resumed   after line {start.line:,}")
    click.echo(f"accepted  {tally.accepted:,}")
    for reason, count in tally.rejected.most_common():
        click.echo(f"rejected  {count:,}  {reason}")
    for fault, count in tally.failed.most_common():
        click.echo(f"failed    {count:,}  {printable(fault)}")
    click.echo(f"{tally.total:,} events in {seconds:.1f} s, {rate:,.0f} events/s")
