"""`streamlake audit`: the proof that what was committed has landed, offset by offset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from streamlake.domain.model.audit_report import AuditReport, Finding, PartitionAudit, ReplayAudit, Scope
from streamlake.domain.model.times import rfc3339
from streamlake.domain.use_cases.audit import Progress as Told
from streamlake.entrypoints.cli.parameters import DATE, REPLAY_ID
from streamlake.entrypoints.cli.progress import shown_on_terminals
from streamlake.entrypoints.cli.screen import counted, screen
from streamlake.entrypoints.cli.wiring import wired

ALWAYS = ("visible", "landed", "lettered")
SHOWN = 50
"""Findings shown as text; the JSON and the report object have them all."""


@click.command()
@click.option("--dataset", required=True, help="The dataset.")
@click.option("--date", type=DATE, help="Judge only this ingestion date (YYYY-MM-DD).")
@click.option("--partition", type=click.IntRange(min=0), help="Judge only this partition.")
@click.option(
    "--replay", "replay_id", type=REPLAY_ID, help="Judge only this replay: all it selected is there, and nothing else."
)
@click.option("--deep", is_flag=True, help="Read every body, and compare each row with its record in the log.")
@click.option("--strict", is_flag=True, help="Exit 1 for accepted gaps and for what cannot be proved, too.")
@click.option("--no-report", is_flag=True, help="Keep no report below ops/audit/.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (docs/schemas/audit-report.v1.json).")
def audit(
    dataset: str,
    date: str | None,
    partition: int | None,
    replay_id: str | None,
    deep: bool,
    strict: bool,
    no_report: bool,
    as_json: bool,
) -> None:
    """Prove that every committed offset is once in the raw zone or in the dead-letter topic; exit 1 where it is not.

    Safe beside running consumers: what is judged is what was committed when the audit began. What the log no longer
    holds, and so cannot be proved, is reported as unproven.
    """
    if date is not None and replay_id is not None:
        raise click.UsageError("--date and --replay: one of them")
    with wired(quiet=True) as container:
        container.catalog().newest(dataset)
        scope = Scope(date, partition, replay_id, deep)
        with _progress() as told:
            report = container.audit(dataset).run(scope, rfc3339(container.clock().now()), told)
        if as_json:
            click.echo(report.to_json())
        else:
            _print(report)
        if not no_report:
            name = container.audit_reports(dataset).keep(report)
            click.echo(f"report: {name}", err=as_json)
    raise click.exceptions.Exit(report.exit_code(strict=strict))


@contextmanager
def _progress() -> Iterator[Told]:
    """A bar for each stage, on standard error; nothing where that is no terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with shown_on_terminals(*columns, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=total or None)
            bars.update(tasks[doing], completed=done, total=total or None)

        yield told


def _print(report: AuditReport) -> None:
    console = screen()
    zone = report.zone
    click.echo(
        f"{report.dataset}: {counted(zone.parts, 'part')} in {counted(zone.prefixes, 'prefix')},"
        f" {zone.live_records:,} live and {counted(zone.replay_records, 'replayed row')};"
        f" judged is what was committed at {report.at}"
    )
    if report.partitions:
        console.print(_partitions(report.partitions))
    if report.replays:
        console.print(_replays(report.replays))
    for title, findings in (("findings", report.findings), ("notes", report.notes)):
        if findings:
            console.print(_findings(title, findings))
    unproven = sum(each.unproven.offsets for each in report.partitions)
    unproven += sum(each.unproven.offsets for each in report.replays)
    if unproven:
        click.echo(f"unproven: {unproven:,} offsets are in neither, and the log no longer holds them")
    click.echo(f"verdict: {report.verdict}")


def _partitions(partitions: list[PartitionAudit]) -> Table:
    """What is nowhere more than 0 is left out: a terminal has 80 columns."""
    shown = {
        "visible": lambda each: each.visible,
        "landed": lambda each: each.landed,
        "lettered": lambda each: each.lettered,
        "accepted": lambda each: each.accepted,
        "missing": lambda each: each.missing.offsets,
        "twice": lambda each: each.duplicated.offsets,
        "gaps": lambda each: each.gaps.offsets,
        "unproven": lambda each: each.unproven.offsets,
    }
    columns: dict[str, Callable[[PartitionAudit], int]] = {
        name: value for name, value in shown.items() if name in ALWAYS or any(map(value, partitions))
    }
    table = Table(Column("partition", overflow="fold"), "judged")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("sum")
    for each in partitions:
        name = str(each.partition) if each.current else f"{each.partition} of {each.topic_id}"
        judged = f"{each.judged_from}-{each.judged_to}" if each.current else "another topic"
        counts = [f"{value(each):,}" for value in columns.values()]
        table.add_row(name, judged, *counts, "holds" if each.holds else "DOES NOT HOLD")
    return table


def _replays(replays: list[ReplayAudit]) -> Table:
    table = Table("replay", "partition", "range", "selected", "landed", "lettered", "missing", "sum")
    for each in replays:
        selected = "not known" if each.selected is None else f"{each.selected:,}"
        counts = (selected, f"{each.landed:,}", f"{each.lettered:,}", f"{each.missing.offsets:,}")
        holds = "holds" if each.holds else "DOES NOT HOLD"
        table.add_row(each.replay_id, str(each.partition), f"{each.start}-{each.until}", *counts, holds)
    return table


def _findings(title: str, findings: list[Finding]) -> Table:
    table = Table(title, Column("", overflow="fold"))
    for finding in findings[:SHOWN]:
        table.add_row(finding.kind, finding.detail)
    if len(findings) > SHOWN:
        table.add_row("...", f"{len(findings) - SHOWN} more: --json has them all")
    return table
