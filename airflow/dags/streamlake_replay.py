"""Land a range of a raw topic again, as new parts under a replay id: planned, approved, carried out once."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from streamlake.entrypoints import airflow_callables as streamlake

PARAMS = {
    "dataset": Param(type="string", minLength=1, description="The dataset."),
    "mode": Param(
        "bounded",
        type="string",
        enum=["bounded", "rewind"],
        description="bounded: beside live landing, which is undisturbed. rewind: the consumers stop, are set back, and "
        "write it.",
    ),
    "offsets": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        description="PARTITION, or PARTITION:START-END (END not in it), one a line. Empty: all partitions.",
    ),
    "from": Param(None, type=["null", "string"], format="date-time", description="Records from this moment on."),
    "to": Param(None, type=["null", "string"], format="date-time", description="Records before this moment."),
    "replay_id": Param(
        None, type=["null", "string"], description="[a-z0-9-]. Empty: made from this run. One that exists is continued."
    ),
    "rate": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        description="Read at most so many records a second. Not for a rewind.",
    ),
    "accept_gap": Param(False, type="boolean", description="Replay what is left where retention has taken a part."),
    "accept_dead_letters": Param(False, type="boolean", description="Do not abort where many become dead letters."),
    "dry_run": Param(True, type="boolean", description="Only plan. Off: ask for approval, then carry the plan out."),
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
def streamlake_replay() -> None:
    @task(multiple_outputs=False)
    def plan(**context: Any) -> dict[str, Any]:
        run = context["dag_run"]
        return streamlake.plan_replay(context["params"], run.dag_id, run.run_id)

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def wanted(plan: dict[str, Any]) -> bool:
        return bool(plan["work"]) and not plan["dry_run"]

    @task
    def approved(plan: dict[str, Any], answer: dict[str, Any]) -> list[dict[str, Any]]:
        return streamlake.approved(plan["work"], answer)

    @task(multiple_outputs=False)
    def replay(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.run_replay(item)

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def report(plan: dict[str, Any] | None, outcomes: Any) -> dict[str, Any]:
        return streamlake.report_replays(plan, list(outcomes[:]))

    planned = plan()
    approval = streamlake.approval("Carry out this replay?")
    wanted(planned) >> approval
    report(planned, replay.expand(item=approved(planned, approval.output)))


streamlake_replay()
