"""`streamlake summary`: what happened on one date."""

from __future__ import annotations

import click

from streamlake.domain.model.day_summary import SUMMARY_VERSION, DaySummary
from streamlake.domain.model.times import rfc3339
from streamlake.entrypoints.cli.parameters import DATE
from streamlake.entrypoints.cli.progress import progress_bars
from streamlake.entrypoints.cli.wiring import wired


@click.command()
@click.option("--date", type=DATE, required=True, help="The ingestion date (YYYY-MM-DD).")
@click.option("--dataset", "datasets", multiple=True, help="A dataset; may be repeated. Default: all.")
@click.option("--no-report", is_flag=True, help="Keep no object under ops/summary/.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (docs/schemas/summary.v1.json).")
def summary(date: str, datasets: tuple[str, ...], no_report: bool, as_json: bool) -> None:
    """Sum up a date as Markdown: accepted, landed, dead-lettered, replayed, lag, audit and quality verdicts."""
    with wired(quiet=True) as container:
        catalog, use_case = container.catalog(), container.summarize()
        names = list(dict.fromkeys(datasets)) or list(catalog.datasets())
        for name in names:
            catalog.newest(name)
        with progress_bars() as bar:
            days = [use_case.of(name, date, bar(name)) for name in names]
        at = rfc3339(container.clock().now())
        told = DaySummary(SUMMARY_VERSION, date, at, days)
        if not no_report:
            click.echo(f"report: {container.summaries().keep(told)}", err=True)
    click.echo(told.to_json().decode() if as_json else told.to_markdown(), nl=as_json)
