"""Replays as tables: their plans, their attempts, all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click
from rich.table import Column, Table

from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.use_cases.replay_records import ReplaySummary, lost_in_words
from streamlake.entrypoints.cli.screen import counted, screen


def print_plans(plans: Sequence[ReplayPlan], as_json: bool) -> None:
    """What each would read and write."""
    if as_json:
        click.echo(json.dumps([each.to_json() for each in plans]))
        return
    for each in plans:
        title = f"replay {each.replay_id} of {each.dataset} ({each.request.mode}): {each.request.selection}"
        table = _table(
            "partition", "start", "end", "records at most", "landed live", "lost", "bytes about", title=title
        )
        for part in each.partitions:
            lost = "" if part.lost is None else f"[{part.lost[0]}, {part.lost[1]})"
            numbers = (part.start, part.until, part.records, part.landed_live)
            table.add_row(str(part.partition), *(f"{number:,}" for number in numbers), lost, f"{part.bytes:,}")
        screen().print(table)
        click.echo(f"{counted(each.records, 'record')} at most, about {counted(each.parts, 'part')}")
        if each.lost:
            click.echo(lost_in_words(each))


def print_status(found: ReplaySummary, now: datetime) -> None:
    """One replay: its plan, and every attempt."""
    click.echo(f"{found.plan.replay_id}: {found.state}{f', {found.trouble(now)}' if found.trouble(now) else ''}")
    print_plans([found.plan], as_json=False)
    table = _table("attempt", "state", "by", "started", "last heard of", "selected", "landed", "lettered", "why")
    for each in found.runs:
        counts = [f"{number:,}" for number in asdict(each.counts).values()]
        table.add_row(
            str(each.number), each.state, each.by, each.started_at[:19], each.updated_at[:19], *counts, each.reason
        )
    screen().print(table)


def print_list(found: Sequence[ReplaySummary]) -> None:
    """A line for each."""
    table = _table("id", "dataset", "mode", "selection", "by", "at", "state", "landed", "lettered")
    for each in found:
        table.add_row(*_line(each))
    screen().print(table)


def _table(*names: str, title: str | None = None) -> Table:
    return Table(*(Column(name, overflow="fold") for name in names), title=title)


def _line(each: ReplaySummary) -> list[str]:
    plan, last = each.plan, each.runs[-1] if each.runs else None
    counts = [f"{last.counts.landed:,}", f"{last.counts.lettered:,}"] if last else ["", ""]
    mode, selection = plan.request.mode, str(plan.request.selection)
    return [plan.replay_id, plan.dataset, mode, selection, plan.by, plan.at[:19], each.state, *counts]
