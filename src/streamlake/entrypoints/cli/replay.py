"""`streamlake replay` and `streamlake backfill`: what Kafka still has, once more into the raw zone, under an id."""

from __future__ import annotations

import json
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from streamlake.domain.model.replay_plans import BOUNDED, REWIND, ReplayPlan, ReplayRequest, backfill_id
from streamlake.domain.model.selections import OffsetRange, Selection, parse_dates, parse_moment, parse_offsets
from streamlake.domain.use_cases.replay_records import COMPLETE, FAILED, RunRecord
from streamlake.entrypoints.cli.parameters import DATES, REPLAY_ID, caller
from streamlake.entrypoints.cli.replay_progress import ReplayBar
from streamlake.entrypoints.cli.replay_tables import print_list, print_plans, print_status
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.replay_flow import Pace
from streamlake.entrypoints.signals import handled_by

Command = Callable[..., None]


@click.group()
def replay() -> None:
    """Land a range of a raw topic again, as new parts under a replay id. Live parts are never touched."""


def selecting(command: Command) -> Command:
    """The options that say what to replay."""
    for option in (
        click.option("--id", "replay_id", type=REPLAY_ID, help="The replay's id ([a-z0-9-]). Default: made for you."),
        click.option(
            "--all", "everything", is_flag=True, help="All that the topic still has; nothing narrows it down."
        ),
        click.option("--date", "dates", type=DATES, multiple=True, help="An ingestion date, or A..B; may be repeated."),
        click.option("--to", help="Records before this moment (RFC 3339 with zone)."),
        click.option("--from", "since", help="Records from this moment on (RFC 3339 with zone)."),
        click.option(
            "--partition",
            "partitions",
            type=click.IntRange(min=0),
            multiple=True,
            help="This partition, whole; may be repeated.",
        ),
        click.option("--offsets", multiple=True, help="PARTITION:START-END, END not in it; one for each partition."),
        click.option("--dataset", required=True, help="The dataset."),
    ):
        command = option(command)
    return command


def running(command: Command) -> Command:
    """The options that say how to run."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print as JSON."),
        click.option("--accept-dead-letters", is_flag=True, help="Do not abort where many become dead letters."),
        click.option("--accept-gap", is_flag=True, help="Replay what is left where retention has taken a part."),
        click.option(
            "--max-live-lag",
            type=click.IntRange(1),
            help="Read on only while live landing is at most so many records behind. Not for a rewind.",
        ),
        click.option("--rate", type=click.FloatRange(1), help="At most so many records a second. Not for a rewind."),
    ):
        command = option(command)
    return command


@replay.command()
@selecting
@click.option("--accept-gap", is_flag=True, help="Plan what is left where retention has taken a part.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def plan(dataset: str, accept_gap: bool, as_json: bool, **chosen: Any) -> None:
    """Show what would be read and written, and write nothing; exit 1 where retention has taken a part of it."""
    with wired(quiet=True) as container:
        container.catalog().newest(dataset)
        request = _request(dataset, **chosen)
        plans = container.replay().plan(dataset, [request], by=caller(), accept_gap=accept_gap)
    print_plans(plans, as_json)
    raise click.exceptions.Exit(1 if _refused(plans) else 0)


@replay.command()
@selecting
@running
@click.option("--rewind", is_flag=True, help="Let the dataset's own consumers land it: they stop, go back, and return.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
def run(dataset: str, as_json: bool, rewind: bool, dry_run: bool, accept_gap: bool, **chosen: Any) -> None:
    """Plan a replay, store the plan, and carry it out beside live landing.

    The same id again carries out the stored plan, and adds only what is missing. Exit 1 where it is not complete.
    """
    _insist_on_a_pace_of_its_own(rewind, chosen)
    ways = {name: chosen.pop(name) for name in ("rate", "max_live_lag", "accept_dead_letters")}
    mode = REWIND if rewind else BOUNDED
    _run_requests([_request(dataset, mode=mode, **chosen)], as_json, dry_run, accept_gap, **ways)


@replay.command()
@click.argument("replay_id", type=REPLAY_ID)
@running
def resume(replay_id: str, as_json: bool, accept_gap: bool, **ways: Any) -> None:
    """Go on with the replay REPLAY_ID by its stored plan, whatever became of it before."""
    with wired(quiet=True) as container:
        stored = container.replay().summary(replay_id).plan
        _insist_on_a_pace_of_its_own(stored.request.mode == REWIND, ways)
        outcomes = _carry_out(container, [stored], as_json, accept_gap, **ways)
    _finish([stored], outcomes, as_json)


@replay.command()
@click.argument("replay_id", type=REPLAY_ID)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def abort(replay_id: str, as_json: bool) -> None:
    """End the rewind REPLAY_ID: its group goes on live where it was, and what has landed stays."""
    with wired(quiet=True) as container, _stopped_by_signals() as stop, ReplayBar(replay_id, show=not as_json) as bar:
        outcome = container.replay().abort(replay_id, by=caller(), say=bar.say, stop=stop)
        container.writer().close(5)
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    else:
        click.echo(f"{outcome.replay_id}: {outcome.state}: {outcome.reason}")
    raise click.exceptions.Exit(3 if outcome.state == FAILED else 0)


@replay.command()
@click.argument("replay_id", type=REPLAY_ID)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(replay_id: str, as_json: bool) -> None:
    """Show the replay REPLAY_ID: its plan, and every attempt to carry it out."""
    with wired(quiet=True) as container:
        found, now = container.replay().summary(replay_id), container.clock().now()
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    print_status(found, now)


@replay.command(name="list")
@click.option("--dataset", help="Only of this dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_replays(dataset: str | None, as_json: bool) -> None:
    """List every replay: who, when, what, and what became of it."""
    with wired(quiet=True) as container:
        if dataset is not None:
            container.catalog().newest(dataset)
        found = [each for each in container.replay().summaries() if dataset in (None, each.plan.dataset)]
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found]))
        return
    print_list(found)


@click.command()
@click.option("--dataset", required=True, help="The dataset.")
@click.option("--dates", type=DATES, required=True, help="A date (YYYY-MM-DD), or A..B with both ends in it.")
@click.option("--label", default="backfill", show_default=True, help="Another one makes another set of replays.")
@running
@click.option("--dry-run", is_flag=True, help="Show the plans and stop.")
def backfill(dataset: str, dates: str, label: str, as_json: bool, dry_run: bool, accept_gap: bool, **ways: Any) -> None:
    """Replay whole ingestion dates, a replay for each.

    Their ids are made from label, date and dataset: the same command again adds only what is missing.
    """
    with _usage():
        requests = [
            ReplayRequest(backfill_id(dataset, date, label), dataset, Selection(dates=(date,)))
            for date in parse_dates(dates)
        ]
    _run_requests(requests, as_json, dry_run, accept_gap, **ways)


def _run_requests(
    requests: Sequence[ReplayRequest], as_json: bool, dry_run: bool, accept_gap: bool, **ways: Any
) -> None:
    dataset = requests[0].dataset
    with wired(quiet=True) as container:
        container.catalog().newest(dataset)
        plans = container.replay().plan(dataset, requests, by=caller(), accept_gap=accept_gap)
        if not as_json or dry_run or _refused(plans):
            print_plans(plans, as_json)
        if dry_run or _refused(plans):
            raise click.exceptions.Exit(1 if _refused(plans) else 0)
        stored = [container.replay().store(each) for each in plans]
        outcomes = _carry_out(container, stored, as_json, accept_gap, **ways)
    _finish(stored, outcomes, as_json)


def _carry_out(
    container: Container,
    plans: Sequence[ReplayPlan],
    as_json: bool,
    accept_gap: bool,
    rate: float | None,
    max_live_lag: int | None,
    accept_dead_letters: bool,
) -> list[RunRecord]:
    """One after the other; stops at the first that a signal has interrupted."""
    outcomes = []
    with _stopped_by_signals() as stop:
        for each in plans:
            with ReplayBar(each.replay_id, show=not as_json) as bar:
                outcome = container.replay().run(
                    each.replay_id,
                    by=caller(),
                    tell=bar.update,
                    say=bar.say,
                    pace=Pace(rate, max_live_lag),
                    accept_gap=accept_gap,
                    accept_dead_letters=accept_dead_letters,
                    stop=stop,
                )
                bar.end(complete=outcome.state == COMPLETE)
            outcomes.append(outcome)
            if stop.is_set():
                break
    container.writer().close(5)
    return outcomes


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT ask for an orderly end; a second one ends at once."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    with handled_by(ask):
        yield stop


def _finish(plans: Sequence[ReplayPlan], outcomes: Sequence[RunRecord], as_json: bool) -> None:
    if as_json:
        rows = [
            {"plan": each.to_json(), "outcome": outcome.to_json()}
            for each, outcome in zip(plans, outcomes, strict=False)
        ]
        click.echo(json.dumps(rows))
    for outcome in () if as_json else outcomes:
        counts = outcome.counts
        why = f": {outcome.reason}" if outcome.reason else ""
        click.echo(
            f"{outcome.replay_id}: {outcome.state}, {counts.selected:,} selected = {counts.landed:,} landed"
            f" + {counts.lettered:,} dead-lettered{why}"
        )
    states = {outcome.state for outcome in outcomes}
    raise click.exceptions.Exit(3 if FAILED in states else 0 if states == {COMPLETE} else 1)


def _request(
    dataset: str,
    offsets: Sequence[str],
    partitions: Sequence[int],
    since: str | None,
    to: str | None,
    dates: Sequence[str],
    everything: bool,
    replay_id: str | None,
    mode: str = BOUNDED,
) -> ReplayRequest:
    if not (offsets or partitions or since or to or dates or everything):
        raise click.UsageError("say what to replay: --offsets, --partition, --from, --to, --date, or --all")
    if everything and (offsets or partitions or since or to or dates):
        raise click.UsageError("--all: is everything; without it the other options say what to replay")
    with _usage():
        ranges: dict[int, OffsetRange] = {}
        for partition, ends in [*map(parse_offsets, offsets), *((number, (None, None)) for number in partitions)]:
            if partition in ranges:
                raise ValueError(f"partition {partition}: is named twice; use a replay for each range")
            ranges[partition] = ends
        selection = Selection(
            ranges,
            None if since is None else parse_moment(since),
            None if to is None else parse_moment(to),
            tuple(sorted({date for text in dates for date in parse_dates(text)})),
        )
        return ReplayRequest(replay_id or f"replay-{secrets.token_hex(4)}", dataset, selection, mode)


def _insist_on_a_pace_of_its_own(rewind: bool, ways: Mapping[str, Any]) -> None:
    if rewind and (ways["rate"] is not None or ways["max_live_lag"] is not None):
        raise click.UsageError("--rate and --max-live-lag: not for a rewind; its consumers land as fast as they can")


@contextmanager
def _usage() -> Iterator[None]:
    """What a value of the domain refuses was typed wrong."""
    try:
        yield
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None


def _refused(plans: Sequence[ReplayPlan]) -> bool:
    return any(each.lost and not each.accept_gap for each in plans)
