"""Service levels (`slaProperties`), as `quality_rules` has them.

freshness      value and unit (d, h, m, s), or an ISO 8601 duration as value. With an element, `orders.event_time`:
               of its newest value; without one: of the newest record timestamp
completeness   value: percent of the raw topic's records that are landed or accounted for
any other      `Unchecked`, at severity info: it is not about the rows of a date
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from open_data_contract_standard.model import OpenDataContractStandard, ServiceLevelAgreementProperty

from streamlake.domain.model.columns import Column, Scalar, StructType
from streamlake.domain.model.quality_rules import (
    Check,
    Completeness,
    Freshness,
    Path,
    QualityRule,
    Threshold,
    Unchecked,
    spelt,
)

KIND = "service level"

_UNITS = {
    "d": 86_400, "day": 86_400, "days": 86_400,
    "h": 3_600, "hr": 3_600, "hour": 3_600, "hours": 3_600,
    "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "s": 1, "sec": 1, "second": 1, "seconds": 1,
}  # fmt: skip
_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_SECONDS = (7 * 86_400, 86_400, 3_600, 60, 1)
_DATED = (Scalar.DATE, Scalar.TIMESTAMP, Scalar.LOCAL_TIMESTAMP)


def service_levels(dataset: str, odcs: OpenDataContractStandard, columns: Sequence[Column]) -> Sequence[QualityRule]:
    """Every service level, in the contract's order."""
    return [_rule(dataset, sla, columns) for sla in odcs.slaProperties or ()]


def _rule(dataset: str, sla: ServiceLevelAgreementProperty, columns: Sequence[Column]) -> QualityRule:
    name = (sla.property or "").strip()
    check: Check
    severity = None
    match name.lower():
        case "freshness":
            check = _freshness(dataset, sla, columns)
        case "completeness":
            check = _completeness(sla)
        case _:
            check, severity = Unchecked("it is not about the rows of a date"), "info"
    where = spelt(check.path) if isinstance(check, Freshness) and check.path else None
    dimension = {"freshness": "timeliness", "completeness": "completeness"}.get(name.lower())
    return QualityRule(sla.id or name, KIND, check, where, sla.description, severity, dimension)


def _freshness(dataset: str, sla: ServiceLevelAgreementProperty, columns: Sequence[Column]) -> Check:
    seconds = _seconds(sla.value, sla.unit)
    if seconds is None:
        return Unchecked(f"value {sla.value!r} with unit {sla.unit!r} is no time: d, h, m, s, or an ISO 8601 duration")
    if sla.element is None:
        return Freshness(seconds, None)
    path = _path(dataset, sla.element)
    if _type_at(columns, path) not in _DATED:
        return Unchecked(f"element {sla.element!r} is no date or timestamp of {dataset}")
    return Freshness(seconds, path)


def _completeness(sla: ServiceLevelAgreementProperty) -> Check:
    value = sla.value
    if isinstance(value, (bool, str)) or value is None or (sla.unit or "percent").lower() not in ("percent", "%"):
        return Unchecked(f"value {value!r} with unit {sla.unit!r} is no percentage")
    return Completeness(Threshold("mustBeGreaterOrEqualTo", (Decimal(repr(value)),)))


def _seconds(value: object, unit: str | None) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip().upper())
        amounts = [int(amount or 0) for amount in found.groups()] if found else []
        return sum(amount * size for amount, size in zip(amounts, _SECONDS, strict=False)) or None
    size = _UNITS.get((unit or "d").lower())
    if isinstance(value, bool) or not isinstance(value, (int, float)) or size is None:
        return None
    return int(value * size)


def _path(dataset: str, element: str) -> Path:
    names = tuple(element.strip().split("."))
    return names[1:] if names[0] == dataset and len(names) > 1 else names


def _type_at(columns: Sequence[Column], path: Path) -> object:
    found = next((column.type for column in columns if column.name == path[0]), None)
    if len(path) == 1:
        return found
    return _type_at(found.fields, path[1:]) if isinstance(found, StructType) else None
