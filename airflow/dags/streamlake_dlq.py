"""Dead letters: what there is, what of it would pass today, and, if somebody approves, the redrive of that."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from streamlake.entrypoints import airflow_callables as streamlake

PARAMS = {
    "datasets": Param(None, type=["null", "array"], items={"type": "string"}, description="Empty: every dataset."),
    "error_classes": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        description="Only letters of these classes, such as contract_violation.",
    ),
    "stages": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": ["api", "consumer"]},
        examples=["api", "consumer"],
        description="Only letters that were written there.",
    ),
    "schema_versions": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        description="Only letters of these schema versions, such as v1; `none` for records without one.",
    ),
    "from": Param(None, type=["null", "string"], format="date-time", description="Failed at or after this moment."),
    "to": Param(None, type=["null", "string"], format="date-time", description="Failed before this moment."),
    "offsets": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        description="Only letters of these source offsets: PARTITION:START-END, END not in it.",
    ),
    "max_attempts": Param(5, type="integer", minimum=1, description="Letters sent so many times already stay open."),
    "rate": Param(None, type=["null", "integer"], minimum=1, description="Redrive at most so many letters a second."),
    "dry_run": Param(True, type="boolean", description="Only look. Off: ask for approval, then redrive what passes."),
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
def streamlake_dlq() -> None:
    @task
    def datasets(**context: Any) -> list[dict[str, Any]]:
        return streamlake.letters_of(context["params"])

    @task(multiple_outputs=False, max_active_tis_per_dagrun=2)
    def inspect(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.inspect_letters(item)

    @task(multiple_outputs=False)
    def plan(inspected: Any, **context: Any) -> dict[str, Any]:
        return streamlake.plan_redrive(context["params"], list(inspected[:]))

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def wanted(plan: dict[str, Any]) -> bool:
        return bool(plan["work"]) and not plan["dry_run"]

    @task
    def approved(plan: dict[str, Any], answer: dict[str, Any]) -> list[dict[str, Any]]:
        return streamlake.approved(plan["work"], answer)

    @task(multiple_outputs=False, max_active_tis_per_dagrun=2)
    def redrive(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.redrive_letters(item)

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def report(inspected: Any, plan: dict[str, Any] | None, outcomes: Any) -> dict[str, Any]:
        return streamlake.report_letters(list(inspected[:]), plan, list(outcomes[:]))

    inspected = inspect.expand(item=datasets())
    planned = plan(inspected)
    approval = streamlake.approval("Redrive dead letters?")
    wanted(planned) >> approval
    report(inspected, planned, redrive.expand(item=approved(planned, approval.output)))


streamlake_dlq()
