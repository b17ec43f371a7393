"""What the demo looks like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.tree import Tree

from streamlake.domain.model.parts import parse_part_name, raw_folder
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.roll_up import parts_of, read_part_info
from streamlake.entrypoints.demo.proof import Proof
from streamlake.entrypoints.demo.traffic import DATASET, Sent
from streamlake.entrypoints.settings import Settings

MOST_PARTS = 12

console = Console(highlight=False)


def opening(settings: Settings, events: int) -> None:
    """What is about to happen."""
    console.print(
        Panel.fit(
            f"[bold]{events:,} real flights[/] of 2013, some broken on purpose\n"
            "HTTP -> contract -> event log -> two consumers -> raw zone\n"
            f"[dim]log   [/] {escape(settings.event_log)}\n[dim]store [/] {escape(settings.object_store)}",
            title="[bold cyan]StreamLake",
            border_style="cyan",
        )
    )


def waiting(what: str) -> AbstractContextManager[object]:
    """A spinner while something starts."""
    return console.status(what)


class Bars:
    """Two bars that chase each other: sent, and landed and committed."""

    def __init__(self, progress: Progress, events: int) -> None:
        self._progress = progress
        self._sent = progress.add_task("sent over HTTP", total=events)
        self._landed = progress.add_task("landed or lettered", total=events)
        self._events = events
        self._count = 0

    def sent(self, count: int) -> None:
        """So many more were sent."""
        self._count += count
        self._progress.update(self._sent, completed=self._count, total=max(self._count, self._events))

    def landed(self, count: int) -> None:
        """So many are committed in all."""
        self._progress.update(self._landed, completed=count)

    def expect(self, count: int) -> None:
        """So many will be committed in the end."""
        self._progress.update(self._landed, total=count)

    def say(self, what: str) -> None:
        """A line above the bars."""
        self._progress.console.print(f"  [yellow]»[/] {what}")


@contextmanager
def progress(events: int) -> Iterator[Bars]:
    """The bars, while they move."""
    columns = (SpinnerColumn(), TextColumn("{task.description:18}"), BarColumn(40), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as shown:
        yield Bars(shown, events)


def tree(store: ObjectStore) -> None:
    """The raw zone, as it lies in the store."""
    console.print(Rule("raw zone", style="cyan"))
    root = Tree(f"[bold]{raw_folder(DATASET)}")
    for date in store.folders(raw_folder(DATASET)):
        branch = root.add(f"[bold]{date}/")
        objects = list(store.list(f"{raw_folder(DATASET)}{date}/"))
        parts = parts_of(objects)
        for _, found in parts[:MOST_PARTS]:
            records = read_part_info(found).records
            branch.add(f"{found.name.rpartition('/')[2]}  [dim]{records:>6,} records  {found.size:>10,} bytes")
        if len(parts) > MOST_PARTS:
            branch.add(f"[dim]... {len(parts) - MOST_PARTS} more parts")
        for found in objects:
            if parse_part_name(found.name) is None:
                branch.add(f"{found.name.rpartition('/')[2]}  [dim]{found.size:>25,} bytes")
    console.print(root)


def envelope(store: ObjectStore, formats: Mapping[str, PartFormat]) -> None:
    """One row of the first part."""
    console.print(Rule("one envelope", style="cyan"))
    for found in store.list(raw_folder(DATASET)):
        name = parse_part_name(found.name)
        if name is not None:
            line = next(formats[name.extension].envelopes(store.read(found.name)[1]))
            console.print(Syntax(json.dumps(json.loads(line), indent=2), "json", background_color="default"))
            return


def letters(proof: Proof) -> None:
    """Dead letters by reason, and who found them."""
    console.print(Rule("dead letters", style="cyan"))
    table = Table("reason", "at the API", "at the consumer", box=None, pad_edge=False)
    for reason in sorted(proof.api_letters.keys() | proof.consumer_letters.keys()):
        table.add_row(reason, f"{proof.api_letters[reason]:,}", f"{proof.consumer_letters[reason]:,}")
    console.print(table)


def proof(found: Proof, sent: Sent, past_the_api: int, codes: Mapping[str, int]) -> None:
    """The sums, and every way in which they could fail."""
    console.print(Rule("the proof, record by record from log and storage", style="cyan"))
    accepted, rejected, unknown = (sent.statuses[status] for status in (202, 422, 404))
    lettered = found.consumer_letters.total()
    lines = [
        f"sent {sent.total:,} = {accepted:,} accepted (202) + {rejected:,} lettered (422) + {unknown:,} unknown (404)",
        f"{accepted:,} accepted + {past_the_api:,} past the API = {found.landed:,} landed + {lettered:,} dead letters",
        f"{len(found.missing)} missing, {len(found.duplicated)} duplicated, {len(found.changed)} with other bytes",
        "exit codes: " + ", ".join(f"{name} {code}" for name, code in codes.items()),
    ]
    for line in lines:
        console.print(f"  {line}")
    for failure in found.failures:
        console.print(f"  [bold red]✗ {escape(failure)}")


def closing(holds: bool, seconds: float, folder: Path, settings: Settings) -> None:
    """The verdict, on the last line."""
    places = f"{settings.object_store}, logs in {folder / 'logs'}, {folder / 'proof.json'}"
    console.print(f"[dim]look around: {escape(places)}")
    verdict = "[bold green]✓ exactly once: proved" if holds else "[bold red]✗ the proof fails"
    console.print(f"{verdict}[/] in {seconds:.1f} s")
