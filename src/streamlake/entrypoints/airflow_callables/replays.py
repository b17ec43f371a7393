"""Replays and backfills: planned, shown, approved, and only then carried out, by a plan that no longer changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamlake.domain import errors
from streamlake.domain.model.replay_plans import ReplayPlan, ReplayRequest, backfill_id
from streamlake.domain.model.selections import OffsetRange, Selection, parse_moment, parse_offsets
from streamlake.domain.use_cases.replay_records import ABORTED, COMPLETE, RunRecord
from streamlake.entrypoints.airflow_callables.connected import connected
from streamlake.entrypoints.airflow_callables.params import BackfillParams, ReplayParams, checked
from streamlake.entrypoints.airflow_callables.runs import Json, RunFailed, finished, id_of_run

PLANNER = "airflow"
LABEL = "backfill"


def plan_replay(params: Mapping[str, Any], dag_id: str, run_id: str) -> Json:
    """Check the params of `streamlake_replay` and plan: `{"dry_run", "work": [...], "plans": [...], "text"}`.

    Without `dry_run` the plan is stored, so that what is approved is what is carried out; tried again, the stored one
    is read. Raises `RunFailed`, `ReplayRefused`, and `PositionLost` where retention has taken a part of it and nobody
    accepts that.
    """
    wanted = checked(ReplayParams, params)
    request = _request(wanted, dag_id, run_id)
    return _planned([request], wanted)


def plan_backfill(params: Mapping[str, Any]) -> Json:
    """The same for `streamlake_backfill`: a replay for each day. Their ids are made from label, day and dataset, as the
    command `backfill` makes them: a day that was backfilled before under this label adds nothing."""
    wanted = checked(BackfillParams, params)
    dataset, label = wanted.dataset, wanted.label or LABEL
    try:
        requests = [
            ReplayRequest(backfill_id(dataset, day, label), dataset, Selection(dates=(day,))) for day in wanted.days
        ]
    except ValueError as malformed:
        raise RunFailed(f"params: {malformed}") from None
    return _planned(requests, wanted)


def run_replay(item: Mapping[str, Any]) -> Json:
    """Carry out a stored plan. Tried again it adds only what is missing.

    `{"replay_id", "state": "complete", "selected", "landed", "lettered"}`. Raises `WorldFault` where the world ended
    the attempt, so that Airflow tries again, and `RunFailed` where another attempt would end as this one.
    """
    from streamlake.entrypoints.replay_flow import Pace

    with connected() as container:
        outcome = container.replay().run(
            item["replay_id"],
            by=item["by"],
            pace=Pace(item["rate"]),
            accept_gap=item["accept_gap"],
            accept_dead_letters=item["accept_dead_letters"],
        )
    return _done(outcome)


def report_replays(plan: Mapping[str, Any] | None, outcomes: Sequence[Json]) -> Json:
    """What was planned and done. Raises `RunFailed` where a task failed, or the plan was not approved."""
    if plan is None:
        raise RunFailed("replay: it could not be planned; the task plan says why")
    if not plan["dry_run"]:
        finished("replay", plan["work"], outcomes)
    return {"dry_run": plan["dry_run"], "plans": plan["plans"], "replays": list(outcomes)}


def _request(wanted: ReplayParams, dag_id: str, run_id: str) -> ReplayRequest:
    if not (wanted.offsets or wanted.since or wanted.until):
        raise RunFailed("params: say what to replay: offsets, from or to")
    try:
        ranges: dict[int, OffsetRange] = {}
        for partition, ends in map(parse_offsets, wanted.offsets or ()):
            if partition in ranges:
                raise ValueError(f"offsets: partition {partition}: is named twice; make a run for each range")
            ranges[partition] = ends
        since = None if wanted.since is None else parse_moment(wanted.since)
        until = None if wanted.until is None else parse_moment(wanted.until)
        selection = Selection(ranges, since, until)
        return ReplayRequest(wanted.replay_id or id_of_run(dag_id, run_id), wanted.dataset, selection, wanted.mode)
    except ValueError as malformed:
        raise RunFailed(f"params: {malformed}") from None


def _planned(requests: Sequence[ReplayRequest], wanted: ReplayParams | BackfillParams) -> Json:
    with connected() as container:
        container.catalog().newest(wanted.dataset)
        replay = container.replay()
        plans = replay.plan(wanted.dataset, requests, by=PLANNER, accept_gap=wanted.accept_gap)
        if not wanted.dry_run:
            plans = [replay.store(each) for each in plans]
    work = [
        {
            "replay_id": each.replay_id,
            "accept_gap": wanted.accept_gap,
            "accept_dead_letters": wanted.accept_dead_letters,
            "rate": wanted.rate,
        }
        for each in plans
        if each.records
    ]
    return {
        "dry_run": wanted.dry_run,
        "work": work,
        "plans": [each.to_json() for each in plans],
        "text": _in_words(plans),
    }


def _in_words(plans: Sequence[ReplayPlan]) -> str:
    """A Markdown table, for whoever has to approve."""
    lines = ["| replay | dataset | what | records, at most | landed live | lost to retention | parts, about |"]
    lines.append("|---|---|---|---:|---:|---:|---:|")
    for each in plans:
        live = sum(lane.landed_live for lane in each.partitions)
        lost = sum(end - start for start, end in each.lost.values())
        what = f"{each.request.mode}: {each.request.selection}"
        lines.append(
            f"| {each.replay_id} | {each.dataset} | {what} | {each.records:,} | {live:,} | {lost:,} | {each.parts:,} |"
        )
    return "\n".join(lines)


def _done(outcome: RunRecord) -> Json:
    if outcome.state != COMPLETE:
        told = f"replay {outcome.replay_id}: {outcome.state}: {outcome.reason}"
        raise (errors.LogUnavailable(told) if _passes(outcome) else RunFailed(told))
    counts = outcome.counts
    return {
        "replay_id": outcome.replay_id,
        "state": outcome.state,
        "selected": counts.selected,
        "landed": counts.landed,
        "lettered": counts.lettered,
    }


def _passes(outcome: RunRecord) -> bool:
    """Was it the world's fault? The reason begins with the error's name. What says no error is worth another try."""
    if outcome.state == ABORTED:
        return False
    kind = getattr(errors, outcome.reason.partition(":")[0], errors.WorldFault)
    return isinstance(kind, type) and issubclass(kind, errors.WorldFault)
