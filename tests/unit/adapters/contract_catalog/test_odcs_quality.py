"""Quality rules and service levels of a contract, as they are read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.adapters.contract_catalog.odcs_files import KEY, contract_of

from streamlake.domain.model.columns import Column, DecimalType, ListType, Scalar, StructType
from streamlake.domain.model.quality_rules import (
    Check,
    Completeness,
    Freshness,
    Metric,
    QualityRule,
    Query,
    Threshold,
    Unchecked,
)


def rules_of(*quality: dict[str, Any], at: str = "x") -> list[QualityRule]:
    """The rules of a property, or (at "") of the whole schema."""
    if at:
        return list(contract_of({"name": at, "logicalType": "string", "quality": list(quality)}).quality)
    schema = [{"name": "things", "properties": [KEY], "quality": list(quality)}]
    return list(contract_of(schema=schema).quality)


def check_of(quality: dict[str, Any], at: str = "x") -> Check:
    [rule] = rules_of(quality, at=at)
    return rule.check


def level_of(**level: Any) -> QualityRule:
    """One service level of a contract with a moment in it."""
    [rule] = contract_of({"name": "at", "logicalType": "timestamp"}, slaProperties=[level]).quality
    return rule


@pytest.mark.parametrize(
    ("operator", "value", "limits"),
    [
        ("mustBe", 3, (3,)),
        ("mustNotBe", 0.1, (Decimal("0.1"),)),
        ("mustBeGreaterThan", 1, (1,)),
        ("mustBeGreaterOrEqualTo", 1, (1,)),
        ("mustBeLessThan", 1, (1,)),
        ("mustBeLessOrEqualTo", 1.5, (Decimal("1.5"),)),
        ("mustBeBetween", [1, 2], (1, 2)),
        ("mustNotBeBetween", [1, 2.5], (1, Decimal("2.5"))),
    ],
)
def test_every_operator_is_read_exactly(operator: str, value: object, limits: tuple[object, ...]) -> None:
    check = check_of({"metric": "nullValues", operator: value})
    assert check == Metric("nullValues", Threshold(operator, limits), (("x",),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "limits", "holding", "broken"),
    [
        ("mustBe", (0,), [0, Decimal("0.0"), False], [1, None, Decimal("NaN")]),
        ("mustNotBe", (0,), [1], [0, None, Decimal("NaN")]),
        ("mustBeGreaterThan", (1,), [Decimal("1.1")], [1, None]),
        ("mustBeGreaterOrEqualTo", (1,), [1], [Decimal("0.9"), None]),
        ("mustBeLessThan", (1,), [0], [1, None]),
        ("mustBeLessOrEqualTo", (1,), [1], [2, None]),
        ("mustBeBetween", (1, 2), [1, 2], [0, 3, None]),
        ("mustNotBeBetween", (1, 2), [0, 3], [1, 2, None]),
        ("mustBe", (True,), [True], [False, None]),
    ],
)
def test_a_threshold_holds_or_not_and_nothing_never_does(
    operator: str, limits: Any, holding: list[Any], broken: list[Any]
) -> None:
    threshold = Threshold(operator, limits)
    assert [found for found in holding if not threshold.holds(found)] == []
    assert [found for found in broken if threshold.holds(found)] == []


@pytest.mark.parametrize(
    "quality",
    [
        {"type": "text", "description": "nice"},
        {"type": "custom", "engine": "soda", "implementation": "x"},
        {"description": "what is it?"},
        {"metric": "nullValues", "mustBe": "none"},
        {"metric": "nullValues", "mustBe": True},
        {"metric": "rowCount", "mustBe": 1},
        {"metric": "invalidValues", "mustBe": 0},
        {"metric": "invalidValues", "arguments": {"validValues": "a"}, "mustBe": 0},
        {"type": "sql", "query": "SELECT ${SECRET}", "mustBe": 0},
    ],
)
def test_what_cannot_be_measured_is_a_rule_that_says_why(quality: dict[str, Any]) -> None:
    """And no reason to refuse the contract, which would stop landing."""
    check = check_of(quality)
    assert isinstance(check, Unchecked)
    assert check.reason


@pytest.mark.parametrize(
    "quality",
    [
        {"metric": "nullValues", "mustBe": 0},
        {"metric": "duplicateValues", "mustBe": 0},
        {"metric": "rowCount", "unit": "percent", "mustBe": 0},
        {"type": "sql", "query": "SELECT {property} FROM {object}", "mustBe": 0},
    ],
)
def test_what_needs_a_property_says_so_at_the_schema(quality: dict[str, Any]) -> None:
    assert isinstance(check_of(quality, at=""), Unchecked)


@pytest.mark.parametrize("query", ["{object} {property}", "${table} ${column}", '"{model}" `{field}`'])
def test_placeholders_become_quoted_names(query: str) -> None:
    check = check_of({"type": "sql", "query": f"SELECT {query}", "mustBe": 0}, at='a "b"')
    assert check == Query('SELECT "things" "a ""b"""', Threshold("mustBe", (0,)))


def test_names_are_the_authors_else_made_up_and_never_twice_the_same() -> None:
    null = {"metric": "nullValues", "mustBe": 0}
    named = [rule.name for rule in rules_of(null, null, {**null, "name": "all there"}, {**null, "id": "r1"})]
    assert named == ["x: nullValues", "x: nullValues (2)", "all there", "r1"]


def test_rules_of_nested_properties_stand_at_their_path() -> None:
    rule = {"metric": "nullValues", "mustBe": 0}
    inner = {"name": "sku", "logicalType": "string", "quality": [rule]}
    array = {"name": "x", "logicalType": "array", "items": {"logicalType": "object", "properties": [inner]}}
    [found] = contract_of(array).quality
    assert (found.where, found.check) == (
        "x[].sku", Metric("nullValues", Threshold("mustBe", (0,)), (("x", "[]", "sku"),)),
    )  # fmt: skip


def test_a_unique_property_has_a_rule_where_none_stands() -> None:
    stated = {"metric": "duplicateValues", "mustBeLessThan": 3}
    [implied] = contract_of({"name": "x", "logicalType": "string", "unique": True}).quality
    [own] = contract_of({"name": "x", "logicalType": "string", "unique": True, "quality": [stated]}).quality
    assert (implied.kind, own.kind) == ("schema", "library")


@pytest.mark.parametrize(
    ("severity", "lenient"),
    [("info", True), ("Warning", True), ("minor", True), ("error", False), ("critical", False), (None, False)],
)
def test_severities_that_only_warn(severity: str | None, lenient: bool) -> None:
    assert QualityRule("r", "text", Unchecked("-"), severity=severity).lenient is lenient


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        (1, "d", 86_400),
        (2, "hours", 7_200),
        (5, "m", 300),
        ("3", None, 259_200),
        ("P1DT12H", None, 129_600),
        (0.5, "d", 43_200),
    ],
)
def test_freshness_is_a_time(value: object, unit: str | None, seconds: int) -> None:
    rule = level_of(property="freshness", value=value, element="things.at", **({"unit": unit} if unit else {}))
    assert (rule.check, rule.where) == (Freshness(seconds, ("at",)), "at")


@pytest.mark.parametrize(
    "level",
    [
        {"property": "freshness", "value": "soon"},
        {"property": "freshness", "value": 1, "unit": "y"},
        {"property": "freshness", "value": 1, "unit": "d", "element": "things.id"},
        {"property": "freshness", "value": 1, "unit": "d", "element": "things.there"},
        {"property": "completeness", "value": "most"},
        {"property": "completeness", "value": 99, "unit": "rows"},
    ],
)
def test_a_service_level_that_cannot_be_measured_says_why_and_counts(level: dict[str, Any]) -> None:
    rule = level_of(**level)
    assert isinstance(rule.check, Unchecked)
    assert not rule.lenient


def test_other_service_levels_are_told_and_do_not_count() -> None:
    rule = level_of(property="generalAvailability", value="2026-01-01")
    assert (type(rule.check), rule.lenient) == (Unchecked, True)


def test_completeness_is_a_percentage() -> None:
    assert level_of(property="completeness", value=99.9).check == Completeness(
        Threshold("mustBeGreaterOrEqualTo", (Decimal("99.9"),))
    )


def test_columns_are_typed_by_the_contract() -> None:
    plain = {"logicalType": "object", "properties": [KEY | {"primaryKey": False}]}
    options = {"logicalTypeOptions": {"minimum": 0, "maximum": 9}}
    found = contract_of(
        {"name": "a", "logicalType": "integer"},
        {"name": "b", "logicalType": "integer", **options},
        {"name": "c", "logicalType": "integer", "logicalTypeOptions": {"format": "u64"}},
        {"name": "d", "logicalType": "number"},
        {"name": "e", "logicalType": "number", "physicalType": "DECIMAL(18, 2)"},
        {"name": "f", "logicalType": "timestamp", "logicalTypeOptions": {"timezone": False}},
        {"name": "g", "logicalType": "string", "logicalTypeOptions": {"format": "date-time"}},
        {"name": "h", "logicalType": "array", "items": plain},
    ).columns
    assert [column.type for column in found[1:]] == [
        Scalar.INTEGER,
        Scalar.LONG,
        Scalar.INTEGER,
        Scalar.NUMBER,
        DecimalType(18, 2),
        Scalar.LOCAL_TIMESTAMP,
        Scalar.TEXT,
        ListType(StructType((Column("id", Scalar.TEXT),))),
    ]
