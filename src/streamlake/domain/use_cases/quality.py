"""`streamlake quality`: a contract's quality rules over what has landed of one date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from streamlake.domain.model.columns import Column
from streamlake.domain.model.contracts import Contract
from streamlake.domain.model.quality_report import Outcome, QualityReport, QualityResult
from streamlake.domain.model.quality_rules import (
    DUPLICATE_VALUES,
    Completeness,
    Freshness,
    Measured,
    Metric,
    NotMeasured,
    QualityRule,
    Query,
    Threshold,
    Unchecked,
)
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.ports.quality_engine import QualityEngine, QualityTables
from streamlake.domain.use_cases.audit_reports import AuditReports
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart
from streamlake.domain.use_cases.replay_records import ReplayRecords

Progress = Callable[[int, int], None]
"""Told of rows read and rows in all, part by part."""


class Quality:
    """Checks dates of any dataset. Reads parts that never change, so live landing need not wait for it."""

    def __init__(
        self,
        catalog: ContractCatalog,
        store: ObjectStore,
        formats: Mapping[str, PartFormat],
        engine: QualityEngine,
        audits: Callable[[str], AuditReports],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._formats = formats
        self._engine = engine
        self._audits = audits

    def check(
        self,
        dataset: str,
        date: str,
        now: datetime,
        *,
        replay_id: str | None = None,
        samples: int = 10,
        progress: Progress = lambda done, total: None,
    ) -> QualityReport:
        """Check the live rows of an ISO date, or those of one replay, as they are listed now.

        Each row is judged by the rules of its own contract version; of older versions only those are told that have
        rows. At most `samples` offenders per rule. Raises the store's errors, `UnknownDataset`, `PrefixDamaged`, and
        `ReplayRefused` where the dataset has no such replay.
        """
        versions = {contract.version: contract for contract in self._catalog.versions(dataset)}
        newest = self._catalog.newest(dataset).version
        if replay_id is not None:
            ReplayRecords(self._store).plan_of(dataset, replay_id)
        zone = RawZone(dataset, self._store, self._formats)
        parts = [part for part in zone.parts([date]) if part.info.replay_id == replay_id]
        tables = self._engine.tables(dataset, {name: _needed(contract) for name, contract in versions.items()})
        try:
            results = list(_load(tables, zone, parts, newest, progress))
            rows = tables.rows()
            as_of = min(now, _end_of(date))
            for version, contract in versions.items():
                for rule in contract.quality if version == newest or rows[version] else ():
                    if isinstance(rule.check, Completeness):
                        audited = self._audited(dataset, date, replay_id)
                        results.append(_compared(version, rule, rule.check.threshold, "percent", audited))
                    else:
                        results.append(_judge(tables, version, rule, as_of, samples))
            results += [_orphans(version, count) for version, count in rows.items() if version not in versions]
        finally:
            tables.close()
        shas = {name: contract.sha256 for name, contract in versions.items()}
        told = {version: count for version, count in rows.items() if count or version == newest}
        return QualityReport(
            dataset, date, replay_id, rfc3339(now), rfc3339(as_of), shas, len(parts), told, tuple(results)
        )

    def _audited(self, dataset: str, date: str, replay_id: str | None) -> Measured | NotMeasured:
        """What the last audit says, in percent, of the records that are landed, lettered or accepted as gaps."""
        if replay_id is not None:
            return NotMeasured("it is of the live rows; a replay's sum is the audit's")
        last = self._audits(dataset).last(lambda report: report.scope.covers(date))
        if last is None:
            return NotMeasured(f"there is no audit of this date: `streamlake audit --dataset {dataset} --date {date}`")
        name, report = last
        if report.at[:10] < date:
            return NotMeasured(f"the last audit is older than this date: {name}")
        unproven = sum(each.unproven.offsets for each in report.partitions)
        if unproven:
            return NotMeasured(f"{unproven} offsets cannot be proved: {name}")
        done = sum(each.landed + each.lettered + each.accepted for each in report.partitions)
        total = done + sum(each.missing.offsets for each in report.partitions)
        if not total:
            return NotMeasured(f"the audit has judged no record of this date: {name}")
        return Measured(round(Decimal(done) * 100 / total, 6))


def _load(
    tables: QualityTables, zone: RawZone, parts: Sequence[ZonePart], newest: str, progress: Progress
) -> Iterator[QualityResult]:
    """Load every part; yields what is wrong with one."""
    total = sum(part.info.records for part in parts)
    done = 0
    for part in parts:
        name = part.name.rpartition("/")[2]
        held = tables.load(name, zone.envelopes(part))
        if held != part.info.records:
            why = f"{part.name}: has {held} rows, its metadata says {part.info.records}; run `streamlake audit`"
            rule = QualityRule(f"{name}: rows", "raw zone", Unchecked(why))
            yield QualityResult(newest, rule, Outcome.UNCHECKED, reason=why)
        done += part.info.records
        progress(done, total)


def _orphans(version: str, count: int) -> QualityResult:
    why = f"{count} rows are of contract {version}, which there is no more"
    return QualityResult(
        version, QualityRule(f"{version}: contract", "raw zone", Unchecked(why)), Outcome.UNCHECKED, reason=why
    )


def _needed(contract: Contract) -> Sequence[Column]:
    """The columns that a contract's rules speak of; SQL may speak of any."""
    paths = set()
    for rule in contract.quality:
        match rule.check:
            case Query():
                return contract.columns
            case Metric(paths=found):
                paths |= {path[0] for path in found}
            case Freshness(path=tuple(found)):
                paths.add(found[0])
    return [column for column in contract.columns if column.name in paths]


def _judge(tables: QualityTables, version: str, rule: QualityRule, as_of: datetime, samples: int) -> QualityResult:
    match rule.check:
        case Metric() as metric:
            unit = "percent" if metric.percent else "values" if metric.metric == DUPLICATE_VALUES else "rows"
            return _compared(version, rule, metric.threshold, unit, tables.measure(version, metric, samples))
        case Query() as query:
            return _compared(version, rule, query.threshold, None, tables.measure(version, query, samples))
        case Freshness() as freshness:
            return _fresh(version, rule, freshness, as_of, tables.newest(version, freshness.path))
        case Unchecked(reason):
            return _unchecked(version, rule, reason)
        case Completeness():
            raise ValueError(f"{rule.name}: is judged by the audit, not by rows")


def _compared(
    version: str, rule: QualityRule, threshold: Threshold, unit: str | None, measured: Measured | NotMeasured
) -> QualityResult:
    if isinstance(measured, NotMeasured):
        return _unchecked(version, rule, measured.reason, str(threshold), unit)
    holds = threshold.holds(measured.found)
    return QualityResult(
        version, rule, _outcome(rule, holds), str(threshold), unit, measured.found, offenders=measured.offenders
    )


def _fresh(
    version: str, rule: QualityRule, freshness: Freshness, as_of: datetime, newest: Measured | NotMeasured
) -> QualityResult:
    threshold = Threshold("mustBeLessThan", (freshness.seconds,))
    if isinstance(newest, Measured) and newest.found is not None:
        age = Decimal(epoch_ms(as_of) - int(newest.found)) / 1000
        newest = Measured(age)
    return _compared(version, rule, threshold, "seconds", newest)


def _unchecked(
    version: str, rule: QualityRule, reason: str, expected: str | None = None, unit: str | None = None
) -> QualityResult:
    return QualityResult(version, rule, Outcome.UNCHECKED, expected, unit, reason=reason)


def _outcome(rule: QualityRule, holds: bool) -> Outcome:
    if holds:
        return Outcome.PASSED
    return Outcome.WARNED if rule.lenient else Outcome.FAILED


def _end_of(date: str) -> datetime:
    return datetime.fromisoformat(date).replace(tzinfo=UTC) + timedelta(days=1)
