"""Daily: does what has landed keep the quality rules of its contract? Red where it does not."""

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
        description="The ingestion date (YYYY-MM-DD, UTC). Empty: the day before the run.",
    ),
    "allow_unchecked": Param(False, type="boolean", description="Stay green where a rule could not be checked."),
}


@dag(
    schedule="0 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["streamlake"],
    doc_md=__doc__,
    default_args=streamlake.default_args(),
)
def streamlake_quality() -> None:
    @task
    def datasets(**context: Any) -> list[dict[str, Any]]:
        return streamlake.qualities_of(context["params"], context["dag_run"].run_after.isoformat())

    @task(multiple_outputs=False, max_active_tis_per_dagrun=2)
    def check(item: dict[str, Any]) -> dict[str, Any]:
        return streamlake.check_quality(item)

    @task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def report(work: list[dict[str, Any]] | None, outcomes: Any) -> dict[str, Any]:
        return streamlake.report_qualities(work, list(outcomes[:]))

    work = datasets()
    report(work, check.expand(item=work))


streamlake_quality()
