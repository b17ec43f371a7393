"""The daily proof: is every committed offset once in the raw zone or in the dead-letter topic? Red where it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from streamlake.entrypoints import airflow_callables as streamlake

PARAMS = {
    "datasets": Param(None, type=["null", "array"], items={"type": "string"}, description="Empty: every dataset."),
    "date": Param(
        None,
        type=["null", "string"],
        format="date",
        description="The day to sum up (YYYY-MM-DD, UTC). Empty: the day before the run. The audit is of all days.",
    ),
    "deep": Param(
        False, type="boolean", description="Read every body and compare each row with Kafka. Costs as much as a replay."
    ),
}


@dag(
    schedule="30 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["streamlake"],
    doc_md=__doc__,
    default_args=streamlake.default_args(),
)
def streamlake_audit() -> None:
    @task
    def datasets(**context: Any) -> list[dict[str, Any]]:
        return streamlake.audits_of(context["params"])

    @task(multiple_outputs=False, max_active_tis_per_dagrun=2)
    def audit(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.audit_dataset(item)

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def summary(**context: Any) -> dict[str, Any]:
        return streamlake.summarize_day(context["params"], context["dag_run"].run_after.isoformat())

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def report(work: list[dict[str, Any]] | None, outcomes: Any, summary: dict[str, Any] | None) -> dict[str, Any]:
        return streamlake.report_audits(work, list(outcomes[:]), summary)

    work = datasets()
    audited = audit.expand(item=work)
    summed_up = summary()
    audited >> summed_up
    report(work, audited, summed_up)


streamlake_audit()
