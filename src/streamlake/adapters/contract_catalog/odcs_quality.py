"""ODCS quality rules, as `quality_rules` has them.

    library   rowCount, nullValues, missingValues, invalidValues, duplicateValues; `unit: percent` except for rowCount
    sql       one query; {object}, {table}, {model}, {schema} ... are the dataset, {property}, {column}, {field} the
              property the rule stands at, with or without a $ in front; names are quoted
    text, custom, and whatever cannot be measured as it is written: `Unchecked`, with the reason
    unique    a property that says `unique: true` has a rule of its own where no duplicateValues rule stands there

What a rule means is what datacontract-cli makes of it, so that both agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from open_data_contract_standard.model import DataQuality, SchemaObject, SchemaProperty

from streamlake.domain.model.quality_rules import (
    COMPARATORS,
    DUPLICATE_VALUES,
    EACH,
    INVALID_VALUES,
    MISSING_VALUES,
    NULL_VALUES,
    ROW_COUNT,
    Check,
    Metric,
    Path,
    QualityRule,
    Query,
    Threshold,
    Unchecked,
    spelt,
)

_PERCENT = frozenset({"percent", "percentage", "%"})
_OF_A_PROPERTY = (NULL_VALUES, MISSING_VALUES, INVALID_VALUES)
_OBJECT_NAMES = ("object", "table", "model", "schema", "dataset", "project", "catalog", "database")
_PROPERTY_NAMES = ("property", "column", "field")
_PLACEHOLDER = re.compile(rf"[\"'`]?\$?\{{({'|'.join((*_OBJECT_NAMES, *_PROPERTY_NAMES))})\}}[\"'`]?")
_VARIABLE = re.compile(r"\$\{[^}]*\}")


def quality_rules(dataset: str, schema: SchemaObject) -> Sequence[QualityRule]:
    """Every rule of the one schema object, those of its properties first, in the contract's order."""
    rules = [
        rule for path, source in _properties(schema.properties, ()) for rule in _of_property(dataset, path, source)
    ]
    return [*rules, *(_rule(dataset, (), quality) for quality in schema.quality or ())]


def named_apart(rules: Sequence[QualityRule]) -> tuple[QualityRule, ...]:
    """The same rules, with a number behind a name that was there before: reports name rules."""
    seen: dict[str, int] = {}
    told = []
    for rule in rules:
        seen[rule.name] = times = seen.get(rule.name, 0) + 1
        told.append(rule if times == 1 else replace(rule, name=f"{rule.name} ({times})"))
    return tuple(told)


def _properties(found: list[SchemaProperty] | None, above: Path) -> Iterator[tuple[Path, SchemaProperty]]:
    for source in found or ():
        yield from _property((*above, source.name or ""), source)


def _property(path: Path, source: SchemaProperty) -> Iterator[tuple[Path, SchemaProperty]]:
    yield path, source
    if source.items is not None:
        yield from _property((*path, EACH), source.items)
    else:
        yield from _properties(source.properties, path)


def _of_property(dataset: str, path: Path, source: SchemaProperty) -> Iterator[QualityRule]:
    stated = source.quality or []
    if source.unique and not any(quality.metric == DUPLICATE_VALUES for quality in stated):
        check = Metric(DUPLICATE_VALUES, Threshold("mustBe", (0,)), (path,))
        yield QualityRule(f"{spelt(path)}: unique", "schema", check, spelt(path), dimension="uniqueness")
    for quality in stated:
        yield _rule(dataset, path, quality)


def _rule(dataset: str, path: Path, quality: DataQuality) -> QualityRule:
    where = spelt(path) or None
    kind = quality.type or "library"
    given = quality.name or quality.id
    return QualityRule(
        name=given or f"{where or dataset}: {quality.metric or kind}",
        kind=kind,
        check=_check(dataset, path, quality),
        where=where,
        description=quality.description,
        severity=quality.severity,
        dimension=quality.dimension,
    )


def _check(dataset: str, path: Path, quality: DataQuality) -> Check:
    match quality.type or "library":
        case "text":
            return Unchecked("it is prose: no tool can check it")
        case "custom":
            return Unchecked(f"it is for {quality.engine}, which StreamLake does not run")
    threshold = _threshold(quality)
    if isinstance(threshold, Unchecked):
        return threshold
    if quality.type == "sql":
        return _query(dataset, path, quality.query or "", threshold)
    return _metric(path, quality, threshold)


def _threshold(quality: DataQuality) -> Threshold | Unchecked:
    for operator in COMPARATORS:
        value = getattr(quality, operator)
        if value is None:
            continue
        limits = [_limit(one) for one in (value if isinstance(value, list) else [value])]
        found = [limit for limit in limits if limit is not None]
        if len(found) < len(limits):
            return Unchecked(f"{operator}: must be a number, true or false")
        return Threshold(operator, tuple(found))
    return Unchecked("it has no operator with a value (mustBe, mustBeLessThan, ...)")


def _limit(value: object) -> int | Decimal | bool | None:
    """Exactly what the contract's text says: the file's reader lets no other float pass."""
    if isinstance(value, (bool, int)):
        return value
    return Decimal(repr(value)) if isinstance(value, float) else None


def _metric(path: Path, quality: DataQuality, threshold: Threshold) -> Check:
    metric, arguments = quality.metric, quality.arguments or {}
    percent = (quality.unit or "").strip().lower() in _PERCENT
    if any(isinstance(limit, bool) for limit in threshold.limits):
        return Unchecked(f"{threshold.operator}: must be a number for {metric}")
    if metric == ROW_COUNT and (path or percent):
        return Unchecked("rowCount: counts the rows of the whole dataset, not in percent, and not of a property")
    if metric == ROW_COUNT:
        return Metric(ROW_COUNT, threshold)
    if metric == DUPLICATE_VALUES:
        together = [path] if path else _together(arguments.get("properties"))
        if not together:
            return Unchecked("duplicateValues: for the whole dataset, arguments must list the properties")
        return Metric(DUPLICATE_VALUES, threshold, tuple(together), percent)
    if metric not in _OF_A_PROPERTY or not path:
        return Unchecked(f"{metric or 'it'}: has no meaning here; it is for a property, or is no metric of ODCS")
    missing, valid, pattern = (arguments.get(name) for name in ("missingValues", "validValues", "pattern"))
    if not all(isinstance(values, list | None) for values in (missing, valid)):
        return Unchecked(f"{metric}: missingValues and validValues must be lists")
    if metric == INVALID_VALUES and valid is None and not isinstance(pattern, str):
        return Unchecked("invalidValues: needs validValues, or a pattern, in its arguments")
    return Metric(
        metric,
        threshold,
        (path,),
        percent,
        missing=tuple(missing or ()) if metric == MISSING_VALUES else (),
        valid=None if valid is None or metric != INVALID_VALUES else tuple(valid),
        pattern=str(pattern) if pattern is not None and metric == INVALID_VALUES else None,
    )


def _together(names: object) -> list[Path]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    return [tuple(name.split(".")) for name in names]


def _query(dataset: str, path: Path, sql: str, threshold: Threshold) -> Check:
    wants_property = any(found[1] in _PROPERTY_NAMES for found in _PLACEHOLDER.finditer(sql))
    if wants_property and (not path or EACH in path):
        return Unchecked("its query names {property}, but it does not stand at a property, or at elements of an array")

    def name(found: re.Match[str]) -> str:
        return _quoted(path) if found[1] in _PROPERTY_NAMES else _quoted((dataset,))

    filled = _PLACEHOLDER.sub(name, sql)
    variable = _VARIABLE.search(filled)
    if variable:
        return Unchecked(f"its query names {variable[0]}, which is no placeholder of ODCS")
    return Query(filled, threshold)


def _quoted(path: Path) -> str:
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in path)
