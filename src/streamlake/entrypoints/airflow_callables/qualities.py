"""The daily look at what has landed: does it keep the quality rules of its contract?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamlake.domain.model.quality_report import Outcome
from streamlake.entrypoints.airflow_callables.connected import connected, known
from streamlake.entrypoints.airflow_callables.params import QualityParams, checked
from streamlake.entrypoints.airflow_callables.runs import Json, RunFailed, finished


def qualities_of(params: Mapping[str, Any], run_after: str) -> list[Json]:
    """Check the params of `streamlake_quality`; an item for each dataset. `run_after`: when the run was due (ISO 8601).

    Raises `RunFailed`, `UnknownDataset`.
    """
    wanted = checked(QualityParams, params)
    day = wanted.day(run_after)
    return [
        {"dataset": dataset, "date": day, "allow_unchecked": wanted.allow_unchecked}
        for dataset in known(wanted.datasets)
    ]


def check_quality(item: Mapping[str, Any]) -> Json:
    """Check the live rows of a dataset and day, and keep the report under `ops/quality/`.

    `{"dataset", "date", "verdict", "passes", "rules": [...], "report": name}`, the rules those that did not pass. A
    broken rule does not raise: the other datasets are checked all the same, and `report_qualities` makes the run red.
    """
    dataset, day = str(item["dataset"]), str(item["date"])
    with connected() as container:
        report = container.quality().check(dataset, day, container.clock().now())
        told = report.to_json()
        kept = container.quality_reports()
        name = kept.keep(dataset, day, report.source, report.checked_at, report.verdict.value, told)
    clean = (Outcome.PASSED, Outcome.WARNED, *((Outcome.UNCHECKED,) if item["allow_unchecked"] else ()))
    return {
        "dataset": dataset,
        "date": day,
        "verdict": report.verdict.value,
        "passes": report.verdict in clean,
        "rows": sum(report.rows.values()),
        "rules": [
            {name: str(rule[name]) for name in ("rule", "outcome", "expected", "found", "reason")}
            for rule in told["results"]
            if rule["outcome"] != Outcome.PASSED
        ],
        "report": name,
    }


def report_qualities(work: Sequence[Json] | None, outcomes: Sequence[Json]) -> Json:
    """All verdicts. Raises `RunFailed` where a check did not finish, or a rule is broken."""
    finished("quality", work, outcomes)
    wrong = [each for each in outcomes if not each["passes"]]
    if wrong:
        told = "; ".join(f"{each['dataset']} {each['date']}: {each['verdict']}, {each['report']}" for each in wrong)
        raise RunFailed(f"quality: {told}")
    return {"checks": list(outcomes)}
