"""`streamlake topics`: what the contracts want of the event log."""

from __future__ import annotations

import json

import click
from rich.table import Column, Table

from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.use_cases.provision_topics import TopicPlan
from streamlake.entrypoints.cli.screen import counted, screen
from streamlake.entrypoints.cli.wiring import wired


@click.group()
def topics() -> None:
    """Create, check and list the topics."""


@topics.command()
@click.option("--dry-run", is_flag=True, help="Print the plan, change nothing; exit 1 if there is something to do.")
@click.option("--allow-repartition", is_flag=True, help="Grow partition counts too: keys change partition.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def provision(dry_run: bool, allow_repartition: bool, as_json: bool) -> None:
    """Create the topics of every contract, or bring them up to date: a plan first, and never less than before."""
    with wired(quiet=True) as container:
        use_case = container.provision()
        plans = use_case.plan(allow_repartition=allow_repartition)
        _print_json(plans) if as_json else _print(plans)
        changes = sum(plan.changes for plan in plans)
        if dry_run:
            raise click.exceptions.Exit(1 if changes else 0)
        use_case.apply(plans)
        if not as_json:
            click.echo(f"{counted(changes, 'topic')} changed, {len(plans) - changes} as they should be")


@topics.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_topics(as_json: bool) -> None:
    """List StreamLake's topics with their partitions and how much they hold."""
    with wired(quiet=True) as container:
        admin = container.admin()
        found = {name: info for name, info in sorted(admin.topics().items()) if name.startswith("streamlake.")}
        lanes = [TopicPartition(name, p) for name, info in found.items() for p in range(info.partitions)]
        marks = admin.watermarks(lanes)
    held = dict.fromkeys(found, 0)
    for lane, mark in marks.items():
        held[lane.topic] += mark.high - mark.low
    if as_json:
        rows = [
            {"topic": name, "topic_id": info.topic_id, "partitions": info.partitions, "offsets": held[name]}
            for name, info in found.items()
        ]
        click.echo(json.dumps(rows))
        return
    table = Table(*(Column(name, overflow="fold") for name in ("topic", "id", "partitions", "replication", "offsets")))
    for name, info in found.items():
        table.add_row(name, info.topic_id, str(info.partitions), str(info.replication), f"{held[name]:,}")
    screen().print(table)


def _what(plan: TopicPlan) -> list[str]:
    told = []
    if plan.create:
        settings = ", ".join(f"{name}={value}" for name, value in sorted(plan.spec.config.items()))
        told.append(
            f"create: {counted(plan.spec.partitions, 'partition')}, replication {plan.spec.replication}, {settings}"
        )
    told += [f"set {name}={value}" for name, value in plan.configure.items()]
    if plan.add_partitions is not None:
        told.append(f"grow to {counted(plan.add_partitions, 'partition')}")
    return told + [f"left alone: {reason}" for reason in plan.refused]


def _print(plans: list[TopicPlan]) -> None:
    table = Table("topic", "plan")
    for plan in plans:
        table.add_row(plan.spec.name, "\n".join(_what(plan)) or "as it should be")
    screen().print(table)


def _print_json(plans: list[TopicPlan]) -> None:
    click.echo(json.dumps([{"topic": p.spec.name, "changes": p.changes, "plan": _what(p)} for p in plans]))
