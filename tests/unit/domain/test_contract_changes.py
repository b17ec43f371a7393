"""What breaks within a major: an event that was valid is not, or what readers were promised is not so any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.domain.worlds import contract

from streamlake.domain.model.contract_changes import changes
from streamlake.domain.model.contracts import Contract

STRING: Mapping[str, Any] = {"type": "string"}


def with_field(schema: Mapping[str, Any] | None, *, required: bool = False, **told: Any) -> Contract:
    properties = {"id": STRING} | ({} if schema is None else {"x": schema})
    names = ["id", "x"] if required else ["id"]
    return contract(1, json_schema={"type": "object", "properties": properties, "required": names, **told})


def nullable(kind: str, **rules: Any) -> Mapping[str, Any]:
    return {"type": [kind, "null"], **rules}


def of_elements(**rules: Any) -> Mapping[str, Any]:
    inner = {"type": "object", "properties": {"y": {"type": "integer", **rules}}, "required": ["y"]}
    return nullable("array", items=inner)


NARROWER = {
    "removed": (nullable("string"), None),
    "another type": (nullable("integer"), nullable("number")),
    "a lower bound is raised": (nullable("integer", minimum=1), nullable("integer", minimum=2)),
    "an upper bound is lowered": (nullable("number", maximum=2.5), nullable("number", maximum=2.4)),
    "a bound is new": (nullable("integer"), nullable("integer", exclusiveMaximum=9)),
    "a bound of dates": (
        nullable("string", formatMinimum="2026-01-01"),
        nullable("string", formatMinimum="2026-01-02"),
    ),
    "a bound of moments in other zones": (
        nullable("string", formatMaximum="2026-01-01T12:00:00+02:00"),
        nullable("string", formatMaximum="2026-01-01T09:00:00z"),
    ),
    "a bound of times": (nullable("string", formatMaximum="12:00:00"), nullable("string", formatMaximum="11:59:59.5")),
    "shorter": (nullable("string", maxLength=5), nullable("string", maxLength=4)),
    "another pattern": (nullable("string", pattern="^a$"), nullable("string", pattern="^b$")),
    "a format": (nullable("string"), nullable("string", format="uuid")),
    "a value is gone": (nullable("string", enum=["a", "b", None]), nullable("string", enum=["a", None])),
    "only some values": (nullable("string"), nullable("string", enum=["a", None])),
    "other multiples": (nullable("integer", multipleOf=4), nullable("integer", multipleOf=3)),
    "unique": (nullable("array", items=STRING), nullable("array", items=STRING, uniqueItems=True)),
    "elements may be null": (nullable("array", items=STRING), nullable("array", items=nullable("string"))),
    "a field of elements": (of_elements(maximum=9), of_elements(maximum=8)),
}
LOOSER = {
    "a new optional field": (None, nullable("string")),
    "a lower bound is lowered": (nullable("integer", minimum=2), nullable("integer", minimum=1)),
    "a bound is gone": (nullable("integer", maximum=2), nullable("integer")),
    "a bound of moments in other zones": (
        nullable("string", formatMaximum="2026-01-01T12:00:00+02:00"),
        nullable("string", formatMaximum="2026-01-01T11:00:00Z"),
    ),
    "longer": (nullable("string", maxLength=4), nullable("string", maxLength=5)),
    "no pattern": (nullable("string", pattern="^a$"), nullable("string")),
    "one value more": (nullable("string", enum=["a", None]), nullable("string", enum=["a", "b", None])),
    "any value": (nullable("string", enum=["a", None]), nullable("string")),
    "more multiples": (nullable("integer", multipleOf=4), nullable("integer", multipleOf=2)),
    "a field of elements": (of_elements(maximum=8), of_elements(maximum=9)),
}


@pytest.mark.parametrize(("old", "new"), NARROWER.values(), ids=NARROWER)
def test_what_is_narrower_breaks_and_names_the_field(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> None:
    (change,) = changes(with_field(old), with_field(new))
    assert change.breaking
    assert change.pointer.startswith("/x")


@pytest.mark.parametrize(("old", "new"), LOOSER.values(), ids=LOOSER)
def test_what_is_looser_is_told_and_does_not_break(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
    (change,) = changes(with_field(old), with_field(new))
    assert not change.breaking
    assert change.pointer.startswith("/x")


def test_the_same_contract_has_no_changes() -> None:
    for old, _ in NARROWER.values():
        assert changes(with_field(old), with_field(old)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (with_field(nullable("string")), with_field(STRING, required=True)),
        (with_field(STRING, required=True), with_field(nullable("string"))),
        (with_field(None), with_field(STRING, required=True)),
        (with_field(STRING), with_field(STRING, additionalProperties=False)),
        (contract(1, partitions=6), contract(1, partitions=5)),
        (with_field(None), contract(1, key="other", json_schema=with_field(None).json_schema)),
    ],
    ids=["becomes required", "becomes optional", "new and required", "closed", "fewer partitions", "another key"],
)
def test_a_whole_contract_can_break_too(old: Contract, new: Contract) -> None:
    assert [change.breaking for change in changes(old, new)] == [True]


def test_opening_a_contract_or_adding_partitions_does_not_break() -> None:
    closed, opened = with_field(STRING, additionalProperties=False), with_field(STRING)
    assert [change.breaking for change in changes(closed, opened)] == [False]
    assert [change.breaking for change in changes(contract(1, partitions=5), contract(1, partitions=6))] == [False]
