"""`streamlake dlq`: look at dead letters, send them again, discard them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import click
from rich.table import Column, Table

from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.letter_selection import LetterSelection
from streamlake.domain.model.letters import DeadLetter, Resolution
from streamlake.domain.model.times import rfc3339_of_ms
from streamlake.domain.use_cases.dead_letters import (
    OPEN,
    STANDINGS,
    DeadLetters,
    LetterCount,
    Progress,
    void_letters,
)
from streamlake.entrypoints.cli.dlq_options import insist_on_partitions, letter_id, selected
from streamlake.entrypoints.cli.dlq_resolve import discard, redrive
from streamlake.entrypoints.cli.letters_told import as_json, as_whole_json, in_full, one_line, resolution_as_json
from streamlake.entrypoints.cli.progress import progress_bars
from streamlake.entrypoints.cli.screen import screen
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.container import Container

Kind = tuple[str, str, str]
"""(standing, stage, error class)"""


of_standing = click.option(
    "--standing",
    "standings",
    type=click.Choice([*STANDINGS, "all"]),
    multiple=True,
    default=[OPEN],
    show_default=True,
    help="What has become of it; may be repeated.",
)


@click.group()
def dlq() -> None:
    """List, show, export, redrive and discard dead letters."""


dlq.add_command(redrive)
dlq.add_command(discard)


@dlq.command(name="list")
@click.argument("dataset")
@selected
@of_standing
@click.option("--limit", type=click.IntRange(min=0), help="List so many; the counts are of all.")
@click.option("--summary", is_flag=True, help="Only the counts.")
@click.option("--json", "as_lines", is_flag=True, help="Print as JSON, a letter a line; with --summary one object.")
def list_letters(
    dataset: str,
    selection: LetterSelection,
    standings: tuple[str, ...],
    limit: int | None,
    summary: bool,
    as_lines: bool,
) -> None:
    """List the open letters of DATASET, oldest first in each partition, and count them by class.

    open: to be redriven or discarded. void: its position has landed, so nothing is to be done. redriven, discarded:
    resolved. replay: evidence of a replay.
    """
    counts: dict[Kind, LetterCount] = {}
    left = 0 if summary else limit
    with wired(quiet=True) as container, progress_bars(show=not as_lines) as bar:
        for letter, standing in _letters(container, dataset, selection, bar):
            counts.setdefault((standing, letter.stage, letter.error_class), LetterCount()).add(letter)
            if left == 0 or not _wanted(standing, standings):
                continue
            left = None if left is None else left - 1
            click.echo(json.dumps(as_json(letter, standing)) if as_lines else one_line(letter, standing))
    if summary and as_lines:
        click.echo(json.dumps([_count_as_json(kind, counted) for kind, counted in sorted(counts.items())]))
    elif not as_lines:
        _print_counts(counts)


@dlq.command()
@click.argument("dataset")
@click.argument("letter")
@click.option("--json", "as_object", is_flag=True, help="Print as JSON.")
def show(dataset: str, letter: str, as_object: bool) -> None:
    """Show one LETTER of DATASET in full, the payload as text, or in hex where it is none; exit 1 if there is none."""
    wanted = letter_id(letter)
    resolutions: list[Resolution] = []
    found: DeadLetter | None = None
    with wired(quiet=True) as container, progress_bars(show=not as_object) as bar:
        letters = _dead_letters(container, dataset)
        ledger = letters.ledger(bar("letters"))
        void = void_letters(ledger, container.raw_zone(dataset), bar("raw zone"))
        for entry in letters.entries(bar("looking")):
            if isinstance(entry, DeadLetter) and entry.id == wanted:
                found = found or entry
            elif isinstance(entry, Resolution) and entry.letter == wanted:
                resolutions.append(entry)
    if found is None:
        click.echo(f"{wanted}: {dataset} has no such letter", err=True)
        raise click.exceptions.Exit(1)
    standing = ledger.standing(wanted, void)
    if as_object:
        whole = as_whole_json(found, standing) | {"resolutions": list(map(resolution_as_json, resolutions))}
        click.echo(json.dumps(whole))
    else:
        click.echo("\n".join(in_full(found, standing, resolutions)))


@dlq.command()
@click.argument("dataset")
@selected
@of_standing
@click.option("--json", is_flag=True, expose_value=False, help="It is JSON anyway.")
def export(dataset: str, selection: LetterSelection, standings: tuple[str, ...]) -> None:
    """Print letters of DATASET whole, as newline-delimited JSON: every byte of key, value and headers is in it."""
    with wired(quiet=True) as container, progress_bars() as bar:
        for letter, standing in _letters(container, dataset, selection, bar):
            if _wanted(standing, standings):
                click.echo(json.dumps(as_whole_json(letter, standing)))


def _letters(
    container: Container, dataset: str, selection: LetterSelection, bar: Callable[[str], Progress]
) -> Iterator[tuple[DeadLetter, str]]:
    letters = _dead_letters(container, dataset)
    insist_on_partitions(container, dataset, selection)
    ledger = letters.ledger(bar("letters"))
    if ledger.strays:
        click.echo(f"{dlq_topic(dataset)}: {ledger.strays} records are neither letters nor resolutions", err=True)
    void = void_letters(ledger, container.raw_zone(dataset), bar("raw zone"))
    for letter, standing in letters.letters(ledger, void, bar("listing")):
        if letter in selection:
            yield letter, standing


def _dead_letters(container: Container, dataset: str) -> DeadLetters:
    container.catalog().newest(dataset)
    letters: DeadLetters = container.dead_letters(dataset)
    return letters


def _wanted(standing: str, standings: tuple[str, ...]) -> bool:
    return standing in standings or "all" in standings


def _count_as_json(kind: Kind, counted: LetterCount) -> dict[str, object]:
    standing, stage, error_class = kind
    first, last = rfc3339_of_ms(counted.first_ms), rfc3339_of_ms(counted.last_ms)
    told = {"standing": standing, "stage": stage, "error_class": error_class}
    return {**told, "count": counted.count, "first": first, "last": last}


def _print_counts(counts: Mapping[Kind, LetterCount]) -> None:
    table = Table(
        *(
            Column(name, overflow="fold")
            for name in ("standing", "stage", "error class", "letters", "first failed (UTC)", "last failed (UTC)")
        )
    )
    for kind, counted in sorted(counts.items()):
        first, last = rfc3339_of_ms(counted.first_ms)[:19], rfc3339_of_ms(counted.last_ms)[:19]
        table.add_row(*kind, f"{counted.count:,}", first, last)
    screen().print(table)
