"""`streamlake raw-zone`: look into the raw zone, with nothing between you and the objects."""

from __future__ import annotations

import json
import sys

import click
import msgspec
from rich.table import Table

from streamlake.domain.model.parts import raw_prefix
from streamlake.domain.use_cases.raw_zone import RawZone
from streamlake.domain.use_cases.roll_up import rebuild_roll_up
from streamlake.entrypoints.cli.parameters import DATE, REPLAY_ID
from streamlake.entrypoints.cli.screen import counted, screen
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.container import Container


@click.group(name="raw-zone")
def raw_zone() -> None:
    """List, print and search parts; rebuild roll-ups."""


@raw_zone.command()
@click.argument("dataset")
@click.option("--date", type=DATE, help="Only this ingestion date (YYYY-MM-DD).")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, a part a line.")
def ls(dataset: str, date: str | None, as_json: bool) -> None:
    """List the parts of DATASET with what each says of itself."""
    with wired(quiet=True) as container:
        table = Table("date", "part", "kind", "records", "bytes", "partitions")
        for part in _zone(container, dataset).parts(_only(date)):
            found, info = part.stored, part.info
            if as_json:
                told = {"name": found.name, "bytes": found.size, "generation": found.generation}
                click.echo(json.dumps(told | {"metadata": dict(found.metadata)}))
            else:
                lanes = ", ".join(str(lane.partition) for lane in sorted(info.claims))
                kind = info.kind if info.replay_id is None else f"replay {info.replay_id}"
                table.add_row(part.date, f"{part.number:04d}", kind, f"{info.records:,}", f"{found.size:,}", lanes)
        if not as_json:
            screen().print(table)


@raw_zone.command()
@click.argument("dataset")
@click.option("--date", type=DATE, help="Only this ingestion date (YYYY-MM-DD).")
@click.option("--replay", "replay_id", type=REPLAY_ID, help="The parts of this replay instead of the live ones.")
@click.option("--payloads", is_flag=True, help="Only the producers' payloads, without their envelopes.")
def cat(dataset: str, date: str | None, replay_id: str | None, payloads: bool) -> None:
    """Print the envelopes of DATASET, one a line, whatever format the parts have."""
    with wired(quiet=True) as container:
        zone, out = _zone(container, dataset), sys.stdout.buffer
        if replay_id is not None:
            container.replay_records().plan_of(dataset, replay_id)
        for part in zone.parts(_only(date)):
            if part.info.replay_id == replay_id:
                for line in zone.envelopes(part):
                    out.write((_payload(line) if payloads else line) + b"\n")


@raw_zone.command()
@click.argument("dataset")
@click.argument("ingestion_id")
@click.option("--date", type=DATE, help="Only this ingestion date (YYYY-MM-DD).")
def find(dataset: str, ingestion_id: str, date: str | None) -> None:
    """Print every envelope of DATASET with INGESTION_ID, after the name of its part; exit 1 where there is none."""
    wanted = ingestion_id.encode()
    hits = 0
    with wired(quiet=True) as container:
        zone = _zone(container, dataset)
        for part in zone.parts(_only(date)):
            for line in zone.envelopes(part):
                if wanted in line and json.loads(line)["ingestion_id"] == ingestion_id:
                    click.echo(f"{part.name}\t{line.decode()}")
                    hits += 1
    if not hits:
        click.echo(f"{ingestion_id}: {dataset} has no such envelope{f' on {date}' if date else ''}", err=True)
    raise click.exceptions.Exit(0 if hits else 1)


@raw_zone.command(name="rebuild-metadata")
@click.argument("dataset")
@click.option("--date", type=DATE, help="Only this ingestion date (YYYY-MM-DD).")
def rebuild_metadata(dataset: str, date: str | None) -> None:
    """Make _metadata.json anew from the parts. By compare-and-swap; keeps the format, deletes nothing."""
    with wired(quiet=True) as container:
        zone, store = _zone(container, dataset), container.object_store()
        for day in _only(date) or zone.dates():
            parts = counted(rebuild_roll_up(store, dataset, day), "part")
            click.echo(f"{raw_prefix(dataset, day)}_metadata.json: {parts}")


def _zone(container: Container, dataset: str) -> RawZone:
    """That of a dataset there is. Raises `UnknownDataset`."""
    container.catalog().newest(dataset)
    zone: RawZone = container.raw_zone(dataset)
    return zone


def _only(date: str | None) -> list[str] | None:
    return None if date is None else [date]


class _Envelope(msgspec.Struct):
    payload: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)


def _payload(line: bytes) -> bytes:
    """The payload's own bytes."""
    return bytes(_envelope.decode(line).payload)
