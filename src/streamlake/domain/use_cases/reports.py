"""Reports kept in the object store: what was found, when, and where the last one is.

    ops/<kind>/dataset=<d>/ingestion_date=YYYY-MM-DD/<time of the check>-<source>.json

Each is created once and never changed. Its verdict is in its custom metadata too, so a listing tells it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

QUALITY = "quality"
_DATE = "ingestion_date="
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class KeptReport:
    """Where a report is, and what it came to."""

    name: str
    date: str
    source: str
    checked_at: str
    verdict: str


class DatedReports:
    """The reports of one kind."""

    def __init__(self, store: ObjectStore, kind: str) -> None:
        self._store = store
        self._kind = kind

    def keep(self, dataset: str, date: str, source: str, checked_at: str, verdict: str, body: Mapping[str, Any]) -> str:
        """Write a report; returns its object's name. Raises the store's errors."""
        stamp = checked_at.replace(":", "").replace("-", "")
        name = f"{self._folder(dataset)}{_DATE}{date}/{stamp}-{source.replace(':', '-')}.json"
        metadata = {"source": source, "checked_at": checked_at, "verdict": verdict}
        self._store.create(name, _dump(body), content_type=_JSON, metadata=metadata)
        return name

    def latest(self, dataset: str, date: str | None = None, source: str = "live") -> KeptReport | None:
        """The last report of a date; without one, of the newest date that has any."""
        for day in self._dates(dataset) if date is None else [date]:
            found = [kept for kept in self._of(dataset, day) if kept.source == source]
            if found:
                return found[-1]
        return None

    def read(self, kept: KeptReport) -> Any:
        """The report itself. Raises the store's errors."""
        return json.loads(self._store.read(kept.name)[1])

    def _dates(self, dataset: str) -> Iterator[str]:
        folders = self._store.folders(self._folder(dataset))
        return reversed([name.removeprefix(_DATE) for name in folders if name.startswith(_DATE)])

    def _of(self, dataset: str, date: str) -> Iterator[KeptReport]:
        for info in self._store.list(f"{self._folder(dataset)}{_DATE}{date}/"):
            yield _kept(info, date)

    def _folder(self, dataset: str) -> str:
        return f"ops/{self._kind}/dataset={dataset}/"


def _kept(info: ObjectInfo, date: str) -> KeptReport:
    told = info.metadata
    return KeptReport(info.name, date, told.get("source", ""), told.get("checked_at", ""), told.get("verdict", ""))


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=1).encode() + b"\n"
