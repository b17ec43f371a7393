"""`streamlake dlq redrive` and `discard`: what closes letters."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.table import Column, Table

from streamlake.domain.errors import DataFault
from streamlake.domain.model.letter_selection import LetterSelection
from streamlake.domain.model.letters import DeadLetter
from streamlake.entrypoints.cli.dlq_options import insist_on_partitions, selected
from streamlake.entrypoints.cli.letters_told import printable
from streamlake.entrypoints.cli.parameters import caller
from streamlake.entrypoints.cli.progress import progress_bars
from streamlake.entrypoints.cli.screen import screen
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.redriving import Outcome, Redriving

MAX_ATTEMPTS = 5

Told = Callable[[DeadLetter, DataFault | None], None]


@click.command()
@click.argument("dataset")
@selected
@click.option("--dry-run", is_flag=True, help="Say of each letter what would happen, and write nothing.")
@click.option("--rate", type=click.IntRange(min=1), help="At most so many letters a second.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=MAX_ATTEMPTS,
    show_default=True,
    help="Letters of records that were sent so often stay open.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON; a dry run first says a letter a line.")
def redrive(
    dataset: str, selection: LetterSelection, dry_run: bool, rate: int | None, max_attempts: int, as_json: bool
) -> None:
    """Send open letters of DATASET again, if today's contract takes them; exit 1 where some stay open.

    A letter keeps its key, ingestion id and headers. Those sent --max-attempts times already stay open. Interrupt it at
    any time and run it again: what was sent is not sent twice.
    """

    def told(letter: DeadLetter, fault: DataFault | None) -> None:
        if dry_run and as_json:
            why = None if fault is None else str(fault)
            click.echo(json.dumps({"letter": str(letter.id), "passes": fault is None, "why": why}))
        elif dry_run:
            click.echo(f"{letter.id}  {'passes' if fault is None else printable(str(fault))}")

    with _run(dataset, selection, told, show=not as_json) as run:
        if dry_run:
            outcome = run.dry_run(selection, max_attempts=max_attempts)
        else:
            outcome = run.redrive(selection, max_attempts=max_attempts, rate=rate)
    _report("would be redriven" if dry_run else "redriven", outcome, as_json)
    raise click.exceptions.Exit(1 if outcome.stays else 0)


@click.command()
@click.argument("dataset")
@selected
@click.option("--reason", required=True, help="Why; kept with the letter.")
@click.option("--all", "everything", is_flag=True, help="Every open letter; needed where nothing is selected.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def discard(dataset: str, selection: LetterSelection, reason: str, everything: bool, as_json: bool) -> None:
    """Close open letters of DATASET without sending them. Nothing is deleted: a record says who, when and why."""
    if selection.is_everything and not everything:
        raise click.UsageError("select letters, or say --all")
    if not reason.strip():
        raise click.BadParameter("--reason: must say something")
    with _run(dataset, selection, lambda _letter, _fault: None, show=not as_json) as run:
        outcome = run.discard(selection, reason)
    _report("discarded", outcome, as_json)


@contextmanager
def _run(dataset: str, selection: LetterSelection, told: Told, *, show: bool) -> Iterator[Redriving]:
    with wired(quiet=True) as container, progress_bars(show=show) as bar:
        container.catalog().newest(dataset)
        insist_on_partitions(container, dataset, selection)
        by = f"{caller()}@{socket.gethostname()}"
        yield Redriving(container.redriving(dataset), secrets.token_hex(16), by, bar, told)
        container.writer().close(5)


def _report(done: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        stays = [
            {"rule": rule, "count": count, "first": outcome.first[rule][0], "why": outcome.first[rule][1]}
            for rule, count in outcome.stays.most_common()
        ]
        told = {done.replace(" ", "_"): outcome.resolved, "recovered": outcome.recovered, "void": outcome.void}
        click.echo(json.dumps(told | {"stays_open": stays}))
        return
    if outcome.stays:
        table = Table(*(Column(name, overflow="fold") for name in ("stay open", "because", "first", "which says")))
        for rule, count in outcome.stays.most_common():
            letter, why = outcome.first[rule]
            table.add_row(f"{count:,}", rule, letter, printable(why))
        screen().print(table)
    parts = [f"{outcome.resolved:,} {done}", f"{outcome.stays.total():,} stay open", f"{outcome.void:,} void"]
    if outcome.recovered:
        parts.append(f"{outcome.recovered:,} had been sent by an interrupted redrive")
    click.echo(", ".join(parts))
