"""`streamlake status`: how the datasets are, and what needs somebody."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table

from streamlake.domain.model.status_report import STATUS_VERSION, CheckStatus, DatasetStatus, StatusReport
from streamlake.domain.model.times import rfc3339
from streamlake.entrypoints.cli.screen import screen
from streamlake.entrypoints.cli.wiring import wired


@click.command()
@click.option("--dataset", "datasets", multiple=True, help="A dataset; may be repeated. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (docs/schemas/status.v1.json).")
def status(datasets: tuple[str, ...], as_json: bool) -> None:
    """Show topics, lag, halts, the last audit and quality check, and open replays; exit 1 where somebody is needed."""
    with wired(quiet=True) as container:
        catalog, use_case = container.catalog(), container.status()
        names = list(dict.fromkeys(datasets)) or list(catalog.datasets())
        for name in names:
            catalog.newest(name)
        now = container.clock().now()
        report = StatusReport(STATUS_VERSION, rfc3339(now), [use_case.of(name, now) for name in names])
        container.writer().close(0)
    if as_json:
        click.echo(report.to_json())
    else:
        _print(report)
    raise click.exceptions.Exit(0 if report.well else 1)


def _print(report: StatusReport) -> None:
    console = screen()
    table = Table("dataset", "consumers", "committed", "lag", "audit", "quality", "replays")
    for found in report.datasets:
        committed = sum(each.committed is not None for each in found.partitions)
        table.add_row(
            found.dataset,
            str(found.members),
            f"{committed} of {len(found.partitions)}" if found.raw_topic else "no topic",
            f"{found.lag:,}",
            _told(found.audit),
            _told(found.quality),
            "\n".join(_replays(found)) or "none open",
        )
    console.print(table)
    for found in report.datasets:
        for each in found.partitions:
            if each.lag:
                at = "nothing" if each.committed is None else f"{each.committed:,}"
                click.echo(f"{found.dataset}: partition {each.partition}: {each.lag:,} behind ({at} of {each.high:,})")
    for found in report.datasets:
        for sentence in found.attention:
            click.echo(f"{found.dataset}: {sentence}", err=True)


def _told(check: CheckStatus | None) -> str:
    if check is None:
        return "never"
    return f"{check.verdict}\n{check.date or check.at[:16] + 'Z'}"


def _replays(found: DatasetStatus) -> Iterator[str]:
    for replay in found.replays:
        yield f"{replay.replay_id}: {replay.state}"
    if found.rewind is not None:
        yield f"rewinding: {found.rewind}"
