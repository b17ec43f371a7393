"""Audit reports as objects:

    ops/audit/dataset=<d>/date=YYYY-MM-DD/<HHMMSS.ffffff>Z-1.json    the day and time of the audit, in UTC
    ...                                                       Z-2.json    another of the same microsecond

So names sort by time, and the last one of a dataset is found without listing every one there ever was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count

from streamlake.domain.errors import AlreadyExists
from streamlake.domain.model.audit_report import AuditReport, audit_report
from streamlake.domain.ports.object_store import ObjectStore

_DATE = "date="
_JSON = "application/json"


def audits_folder(dataset: str) -> str:
    """Where the audit reports of a dataset are."""
    return f"ops/audit/dataset={dataset}/"


class AuditReports:
    """The audit reports of one dataset. Raises the store's errors, and ValueError for a report that is none."""

    def __init__(self, dataset: str, store: ObjectStore) -> None:
        self._folder = audits_folder(dataset)
        self._store = store

    def keep(self, report: AuditReport) -> str:
        """Store a report for good; returns the object's name."""
        day, _, time = report.at.removesuffix("Z").partition("T")
        stem = f"{self._folder}{_DATE}{day}/{time.replace(':', '')}Z"
        body = report.to_json()
        for number in count(1):
            name = f"{stem}-{number}.json"
            with suppress(AlreadyExists):
                self._store.create(name, body, content_type=_JSON, metadata={"verdict": report.verdict})
                break
        return name

    def last(self, wanted: Callable[[AuditReport], bool] = lambda _: True) -> tuple[str, AuditReport] | None:
        """The newest one that is wanted, after its object's name; those newer than it are read on the way there."""
        for day in reversed(self._store.folders(self._folder)):
            for found in reversed(list(self._store.list(f"{self._folder}{day}/"))):
                report = audit_report(self._store.read(found.name)[1])
                if wanted(report):
                    return found.name, report
        return None
