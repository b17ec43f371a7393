"""`streamlake quality`: does what has landed keep its contract's quality rules?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from streamlake.domain.model.quality_report import Outcome, QualityReport, QualityResult
from streamlake.domain.model.quality_rules import plain
from streamlake.entrypoints.cli.parameters import DATE, REPLAY_ID
from streamlake.entrypoints.cli.progress import progress_bars
from streamlake.entrypoints.cli.screen import counted, screen
from streamlake.entrypoints.cli.wiring import wired

_REPLAY = "replay:"
_STYLES = {Outcome.PASSED: "green", Outcome.WARNED: "yellow", Outcome.UNCHECKED: "yellow", Outcome.FAILED: "bold red"}


def _replay_id(context: click.Context, param: click.Parameter, value: str) -> str | None:
    if value == "live":
        return None
    if not value.startswith(_REPLAY):
        raise click.BadParameter(f"must be live or replay:ID, is {value!r}")
    return REPLAY_ID.convert(value.removeprefix(_REPLAY), param, context)


@click.command()
@click.option("--dataset", required=True, help="The dataset.")
@click.option("--date", type=DATE, required=True, help="The ingestion date (YYYY-MM-DD).")
@click.option(
    "--source", "replay_id", default="live", callback=_replay_id, show_default=True, help="live, or replay:ID."
)
@click.option("--samples", type=click.IntRange(0, 1000), default=10, show_default=True, help="Offenders per rule.")
@click.option("--allow-unchecked", is_flag=True, help="Exit 0 also where rules could not be checked.")
@click.option("--no-report", is_flag=True, help="Keep no report under ops/quality/.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON (docs/schemas/quality-report.v1.json).")
def quality(
    dataset: str,
    date: str,
    replay_id: str | None,
    samples: int,
    allow_unchecked: bool,
    no_report: bool,
    as_json: bool,
) -> None:
    """Check the quality rules and service levels of a dataset's contract over the parts of one date.

    Exit 1 where a rule is broken or could not be checked; a rule whose severity is info or warning only warns.
    """
    with wired(quiet=True) as container:
        use_case, now = container.quality(), container.clock().now()
        with progress_bars() as bar:
            read = bar("rows")
            report = use_case.check(dataset, date, now, replay_id=replay_id, samples=samples, progress=read)
        if as_json:
            click.echo(json.dumps(report.to_json()))
        else:
            _print(report)
        if not no_report:
            kept = container.quality_reports()
            verdict, told = report.verdict.value, report.to_json()
            name = kept.keep(dataset, date, report.source, report.checked_at, verdict, told)
            click.echo(f"report: {name}", err=as_json)
    clean = (Outcome.PASSED, Outcome.WARNED, *((Outcome.UNCHECKED,) if allow_unchecked else ()))
    raise click.exceptions.Exit(0 if report.verdict in clean else 1)


def _print(report: QualityReport) -> None:
    table = Table("rule", "expected", "found", "outcome")
    several = len({result.version for result in report.results}) > 1
    for result in report.results:
        name = f"{result.version} {result.rule.name}" if several else result.rule.name
        table.add_row(name, *_measured(result), Text(result.outcome, _STYLES[result.outcome]))
    console = screen()
    console.print(table)
    for result in report.results:
        for line in _details(result):
            console.print(f"{result.rule.name}: {line}", highlight=False, soft_wrap=True)
    counts = ", ".join(f"{report.count(outcome)} {outcome}" for outcome in Outcome)
    rows = sum(report.rows.values())
    console.print(
        f"{report.dataset} {report.date} {report.source}: {report.verdict}"
        f" ({counted(rows, 'row')} in {counted(report.parts, 'part')}; "
        f"{counts})",
        highlight=False,
        soft_wrap=True,
    )


def _measured(result: QualityResult) -> tuple[str, str]:
    unit = {"percent": "%", "seconds": " s"}.get(result.unit or "", "")
    expected = "" if result.expected is None else result.expected + unit
    if result.outcome is Outcome.UNCHECKED:
        return expected, ""
    return expected, plain(result.found) + (unit if result.found is not None else "")


def _details(result: QualityResult) -> Iterator[str]:
    if result.reason is not None:
        yield result.reason
    if result.offenders and result.outcome is not Outcome.PASSED:
        yield "such as " + ", ".join(map(str, result.offenders)) + " (partition:offset)"
