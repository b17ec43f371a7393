"""`streamlake doctor`: is everything there that a running StreamLake needs?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from streamlake.domain.errors import StreamLakeError
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.container import Container


@click.command()
@click.option("--create-bucket", is_flag=True, help="Make the bucket (or folder) where it is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(create_bucket: bool, as_json: bool) -> None:
    """Check contracts, event log, topics and bucket; exit 1 where something is missing or wrong."""
    with wired(quiet=True) as container:
        findings = list(_findings(container, create_bucket))
    if as_json:
        click.echo(json.dumps([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in findings]))
    else:
        for name, ok, detail in findings:
            click.echo(f"{'ok  ' if ok else 'FAIL'}  {name}: {detail}")
    raise click.exceptions.Exit(0 if all(ok for _, ok, _ in findings) else 1)


def _findings(container: Container, create_bucket: bool) -> Iterator[tuple[str, bool, str]]:
    settings = container.settings()
    try:
        datasets = container.catalog().datasets()
        yield "contracts", bool(datasets), ", ".join(datasets) or f"there is none in {settings.contracts}"
    except StreamLakeError as fault:
        yield "contracts", False, str(fault)
        return
    try:
        for plan in container.provision().plan():
            wrong = "does not exist" if plan.create else ", ".join([*plan.configure, *plan.refused])
            hint = " (`streamlake topics provision`)" if plan.changes else ""
            yield f"topic {plan.spec.name}", not wrong, (wrong + hint) or "as the contract wants it"
    except StreamLakeError as fault:
        yield "event log", False, str(fault)
    try:
        store = container.object_store()
        if create_bucket:
            store.create_bucket()
        exists = store.bucket_exists()
        yield "object store", exists, settings.object_store + ("" if exists else " does not exist (--create-bucket)")
    except StreamLakeError as fault:
        yield "object store", False, str(fault)
