"""What changed between two contracts of one major, and whom it breaks.

Within a major two things must hold. An event that was valid stays valid: producers go on as they are, and the consumer
judges records with today's file that yesterday's let in. And what readers were promised of landed events stays true:
a field that was there, always there, or of one type, still is. So this breaks, at any depth:

    the key changes                              a field is removed, becomes optional, or changes its type
    a new field is required                      a field becomes required
    unknown fields are refused                   a bound, pattern, format or enum becomes narrower, or is new
    the partition count shrinks

A looser rule or a new optional field does not. A pattern or format that is not the same counts as narrower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from streamlake.domain.model.contracts import Contract

Schema = Mapping[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "formatMinimum", "formatExclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "formatMaximum", "formatExclusiveMaximum", "maxLength", "maxItems")
_SAME_OR_NONE = ("pattern", "format")
_NULL = "null"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `pointer` names the field (`""` the whole contract, `/items/*/sku` a field of elements)."""

    pointer: str
    breaking: bool
    text: str


def changes(old: Contract, new: Contract) -> Sequence[Change]:
    """Every difference that events or readers could notice, breaking ones first. Both are of one dataset and major."""
    found = [*_contract_changes(old, new), *_object_changes("", old.json_schema, new.json_schema)]
    return sorted(found, key=lambda change: not change.breaking)


def _contract_changes(old: Contract, new: Contract) -> Iterator[Change]:
    if old.key != new.key:
        yield Change("", True, f"the key was {old.key}, is {new.key}")
    if new.partitions != old.partitions:
        shrinks = new.partitions < old.partitions
        yield Change("", shrinks, f"partitions were {old.partitions}, are {new.partitions}")
    if new.part_format != old.part_format:
        yield Change("", False, f"part format was {old.part_format or 'the default'}, is {new.part_format or 'that'}")


def _object_changes(pointer: str, old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        here = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in after:
            yield Change(here, True, "was removed")
            continue
        was, now = name in old.get("required", ()), name in new.get("required", ())
        if was != now:
            yield Change(here, True, "became required" if now else "became optional")
        yield from _field_changes(here, schema, after[name])
    for name in after.keys() - before.keys():
        required = name in new.get("required", ())
        yield Change(f"{pointer}/{name}", required, "is new and required" if required else "is new and optional")
    was_open, is_open = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if was_open != is_open:
        yield Change(pointer, was_open, "unknown fields are refused now" if was_open else "unknown fields are allowed")


def _field_changes(pointer: str, old: Schema, new: Schema) -> Iterator[Change]:
    was, now = _type(old), _type(new)
    if was != now:
        yield Change(pointer, True, f"was of type {was}, is {now}")
        return
    for rule in (*_LOWER, *_UPPER):
        yield from _bound_change(pointer, rule, old.get(rule), new.get(rule))
    for rule in _SAME_OR_NONE:
        if old.get(rule) != new.get(rule):
            breaks = new.get(rule) is not None
            yield Change(pointer, breaks, f"{rule} was {_told(old.get(rule))}, is {_told(new.get(rule))}")
    yield from _enum_change(pointer, old.get("enum"), new.get("enum"))
    yield from _multiple_change(pointer, old.get("multipleOf"), new.get("multipleOf"))
    if bool(old.get("uniqueItems")) != bool(new.get("uniqueItems")):
        yield Change(pointer, bool(new.get("uniqueItems")), "elements must differ now, or need not any more")
    if now == "array":
        if _nullable(old["items"]) != _nullable(new["items"]):
            yield Change(f"{pointer}/*", True, "whether elements may be null has changed")
        yield from _field_changes(f"{pointer}/*", old["items"], new["items"])
    if now == "object":
        yield from _object_changes(pointer, old, new)


def _bound_change(pointer: str, rule: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if new is None:
        breaks = False
    elif old is None:
        breaks = True
    else:
        before, after = _comparable(old), _comparable(new)
        breaks = after > before if rule in _LOWER else after < before
    yield Change(pointer, breaks, f"{rule} was {_told(old)}, is {_told(new)}")


def _enum_change(pointer: str, old: Sequence[object] | None, new: Sequence[object] | None) -> Iterator[Change]:
    if old == new:
        return
    if new is None:
        yield Change(pointer, False, "any value is allowed now")
    elif old is None:
        yield Change(pointer, True, "only some values are allowed now")
    else:
        for value in old:
            if value not in new and value is not None:
                yield Change(pointer, True, f"the value {value!r} is not allowed any more")
        for value in new:
            if value not in old and value is not None:
                yield Change(pointer, False, f"the value {value!r} is allowed now")


def _multiple_change(pointer: str, old: int | None, new: int | None) -> Iterator[Change]:
    if old != new:
        breaks = new is not None and (old is None or old % new != 0)
        yield Change(pointer, breaks, f"multipleOf was {_told(old)}, is {_told(new)}")


def _type(schema: Schema) -> str:
    named = schema["type"]
    return named if isinstance(named, str) else next(each for each in named if each != _NULL)


def _nullable(schema: Schema) -> bool:
    return not isinstance(schema["type"], str)


def _comparable(limit: Any) -> Any:
    """A bound as something with an order; those of dates and times are text."""
    if not isinstance(limit, str):
        return limit
    text = limit.upper()
    return time.fromisoformat(text) if text[2:3] == ":" else datetime.fromisoformat(text)


def _told(limit: object) -> str:
    return "none" if limit is None else str(limit)
