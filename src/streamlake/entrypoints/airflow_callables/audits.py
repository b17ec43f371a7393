"""The daily proof: every dataset's offsets against its parts and letters; and what the day before was like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamlake.domain.model.audit_report import Scope
from streamlake.domain.model.day_summary import SUMMARY_VERSION, DaySummary
from streamlake.domain.model.times import rfc3339
from streamlake.entrypoints.airflow_callables.connected import connected, known
from streamlake.entrypoints.airflow_callables.params import AuditParams, checked
from streamlake.entrypoints.airflow_callables.runs import Json, RunFailed, finished

FINDINGS_SHOWN = 20
"""The report object has them all."""


def audits_of(params: Mapping[str, Any]) -> list[Json]:
    """Check the params of `streamlake_audit`; an item for each dataset. Raises `RunFailed`, `UnknownDataset`."""
    wanted = checked(AuditParams, params)
    return [{"dataset": dataset, "deep": wanted.deep} for dataset in known(wanted.datasets)]


def audit_dataset(item: Mapping[str, Any]) -> Json:
    """Audit all that a dataset has committed, and keep the report under `ops/audit/`.

    `{"dataset", "verdict": clean | unproven | findings, "findings": [...], "report": name}`. A finding does not raise:
    the other datasets are audited all the same, and `report_audits` makes the run red.
    """
    dataset = str(item["dataset"])
    with connected() as container:
        report = container.audit(dataset).run(Scope(deep=bool(item["deep"])), rfc3339(container.clock().now()))
        name = container.audit_reports(dataset).keep(report)
    return {
        "dataset": dataset,
        "verdict": report.verdict,
        "landed": sum(each.landed for each in report.partitions),
        "lettered": sum(each.lettered for each in report.partitions),
        "accepted": sum(each.accepted for each in report.partitions),
        "missing": sum(each.missing.offsets for each in report.partitions),
        "unproven": sum(each.unproven.offsets for each in report.partitions),
        "findings": [f"{found.kind}: {found.detail}" for found in report.findings[:FINDINGS_SHOWN]],
        "finding_count": len(report.findings),
        "report": name,
    }


def summarize_day(params: Mapping[str, Any], run_after: str) -> Json:
    """Sum up the day asked for, else the one before the run was due, and keep that under `ops/summary/`.

    `{"date", "report": name, "text": Markdown}`. Raises `RunFailed`, `UnknownDataset`.
    """
    wanted = checked(AuditParams, params)
    date, names = wanted.day(run_after), known(wanted.datasets)
    with connected() as container:
        days = [container.summarize().of(name, date) for name in names]
        told = DaySummary(SUMMARY_VERSION, date, rfc3339(container.clock().now()), days)
        name = container.summaries().keep(told)
    return {"date": date, "report": name, "text": told.to_markdown()}


def report_audits(work: Sequence[Json] | None, outcomes: Sequence[Json], summary: Mapping[str, Any] | None) -> Json:
    """All verdicts, and the day. Raises `RunFailed` where an audit or the summary did not finish, or one found
    something."""
    finished("audit", work, outcomes)
    wrong = [each for each in outcomes if each["verdict"] == "findings"]
    if wrong:
        told = "; ".join(f"{each['dataset']}: {each['finding_count']} findings, {each['report']}" for each in wrong)
        raise RunFailed(f"audit: {told}")
    if summary is None:
        raise RunFailed("summary: it could not be made; the task summary says why")
    return {"audits": list(outcomes), "summary": dict(summary)}
