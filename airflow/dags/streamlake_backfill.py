"""Land whole days of a raw topic again, a replay for each day: planned, approved, carried out once, side by side."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from streamlake.entrypoints import airflow_callables as streamlake

PARAMS = {
    "dataset": Param(type="string", minLength=1, description="The dataset."),
    "first": Param(type="string", format="date", description="The first ingestion date (YYYY-MM-DD, UTC)."),
    "last": Param(type="string", format="date", description="The last one; it is in the range."),
    "label": Param(
        None,
        type=["null", "string"],
        description="Part of each day's replay id; empty: backfill. A day that has one under this label adds nothing; "
        "another label makes another copy.",
    ),
    "rate": Param(
        None, type=["null", "integer"], minimum=1, description="Of each day: at most so many records a second."
    ),
    "accept_gap": Param(False, type="boolean", description="Replay what is left where retention has taken a part."),
    "accept_dead_letters": Param(False, type="boolean", description="Do not abort where many become dead letters."),
    "dry_run": Param(True, type="boolean", description="Only plan. Off: ask for approval, then carry the plans out."),
}


@dag(
    schedule=None,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=PARAMS,
    tags=["streamlake"],
    doc_md=__doc__,
    default_args=streamlake.default_args(),
)
def streamlake_backfill() -> None:
    @task(multiple_outputs=False)
    def plan(**context: Any) -> dict[str, Any]:
        return streamlake.plan_backfill(context["params"])

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def wanted(plan: dict[str, Any]) -> bool:
        return bool(plan["work"]) and not plan["dry_run"]

    @task
    def approved(plan: dict[str, Any], answer: dict[str, Any]) -> list[dict[str, Any]]:
        return streamlake.approved(plan["work"], answer)

    @task(multiple_outputs=False, max_active_tis_per_dagrun=2, map_index_template="{{ item['replay_id'] }}")
    def replay_day(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.run_replay(item)

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def report(plan: dict[str, Any] | None, outcomes: Any) -> dict[str, Any]:
        return streamlake.report_replays(plan, list(outcomes[:]))

    planned = plan()
    approval = streamlake.approval("Carry out this backfill?")
    wanted(planned) >> approval
    report(planned, replay_day.expand(item=approved(planned, approval.output)))


streamlake_backfill()
