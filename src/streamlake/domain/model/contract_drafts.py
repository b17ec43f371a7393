"""A first contract from sample events: what every one of them keeps to, for somebody to edit."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import isfinite
from typing import Any

from streamlake.domain.errors import DataFault, RecordRefused

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_DISTINCT = 1000
"""As many different values are remembered of a field, to see which could be the key."""
_LONGEST_EXAMPLE = 80
_DEEPEST = 32


@dataclass(slots=True)
class SampledField:
    """What the events seen so far have in one place."""

    seen: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """string, timestamp, date, integer, number, boolean, object, array or null -> how often."""
    example: object = None
    members: dict[str, SampledField] = field(default_factory=dict)
    """Of its objects."""
    element: SampledField | None = None
    """Of its arrays."""
    values: set[object] = field(default_factory=set)
    repeated: bool = False

    @property
    def kind(self) -> str | None:
        """The one type that fits all of it, in a contract's words; None where there is none."""
        kinds = set(self.kinds) - {"null"}
        if kinds <= {"integer", "number"} and kinds:
            return "number" if "number" in kinds else "integer"
        if kinds <= {"string", "date", "timestamp"} and kinds:
            return kinds.pop() if len(kinds) == 1 else "string"
        if kinds == {"array"} and (self.element is None or self.element.kind is None):
            return None
        if kinds == {"object"} and not self.properties():
            return None
        return kinds.pop() if len(kinds) == 1 else None

    def required_of(self, parents: int) -> bool:
        """Was it in all of so many, and never null?"""
        return self.seen == parents and not self.kinds["null"]

    def properties(self) -> Mapping[str, SampledField]:
        """Of its objects: those members that a contract can describe."""
        return {name: found for name, found in self.members.items() if _writable(name) and found.kind is not None}

    def add(self, value: object, depth: int = 0) -> None:
        """One more value."""
        if depth > _DEEPEST:
            raise RecordRefused("too-deep", f"more than {_DEEPEST} objects and arrays within one another")
        self.seen += 1
        self.kinds[_kind(value)] += 1
        if isinstance(value, Mapping):
            for name, inner in value.items():
                self.members.setdefault(name, SampledField()).add(inner, depth + 1)
        elif isinstance(value, list):
            for inner in value:
                self.element = self.element or SampledField()
                self.element.add(inner, depth + 1)
        elif value is not None:
            if self.example is None and _short(value):
                self.example = value
            self.repeated |= value in self.values
            if len(self.values) < _DISTINCT:
                self.values.add(value)


@dataclass(frozen=True, slots=True)
class ContractDraft:
    """A contract's content, before anybody has thought about it."""

    dataset: str
    major: int
    key: str
    document: SampledField
    """Of the events themselves: its members are the properties."""

    def left_out(self) -> Sequence[str]:
        """The fields for which no type fits, by JSON pointer: they are allowed, as unknown fields are."""
        return list(_left_out(self.document, ""))


def sample(document: SampledField, line: bytes, number: int) -> None:
    """Take one event in. Raises `DataFault` naming the line where it is no JSON object."""
    try:
        event: Any = json.loads(line, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError):
        raise RecordRefused("malformed_json", f"line {number}: must be well-formed JSON") from None
    if not isinstance(event, dict):
        raise RecordRefused("no_object", f"line {number}: must be a JSON object")
    try:
        document.add(event)
    except RecordRefused as refused:
        raise RecordRefused(refused.rule, f"line {number}: {refused}") from None


def keys_that_fit(document: SampledField) -> Sequence[str]:
    """The fields that could be the key, the likeliest first: named like an id, then never seen twice."""
    fits = [
        name
        for name, found in document.properties().items()
        if found.required_of(document.seen) and found.kind in ("string", "integer")
    ]
    return sorted(fits, key=lambda name: (not _named_like_an_id(name), document.members[name].repeated))


def draft(dataset: str, major: int, document: SampledField, key: str | None) -> ContractDraft:
    """The draft. Raises `DataFault` where the key named, or any, cannot be one."""
    fitting = keys_that_fit(document)
    if not fitting:
        raise _no_key("no field is a string or an integer in every event, so there is no key")
    if key is not None and key not in fitting:
        raise _no_key(f"key {key}: must be in every event, a string or an integer; there are {', '.join(fitting)}")
    return ContractDraft(dataset, major, key or fitting[0], document)


def _no_key(message: str) -> DataFault:
    return RecordRefused("no_key", message)


def _named_like_an_id(name: str) -> bool:
    return name.lower() == "id" or name.lower().endswith(("_id", "-id")) or name.endswith("Id")


def _left_out(found: SampledField, pointer: str) -> Iterator[str]:
    for name, member in found.members.items():
        here = f"{pointer}/{name}"
        if name not in found.properties():
            yield here
        else:
            yield from _left_out(member, here)
            if member.element is not None:
                yield from _left_out(member.element, f"{here}/*")


def _writable(name: str) -> bool:
    return bool(name) and name.isprintable()


def _short(value: object) -> bool:
    """Can it stand in a contract as an example?"""
    text = str(value)
    return len(text) <= _LONGEST_EXAMPLE and text.isprintable()


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return _kind_of_text(value)
        case dict():
            return "object"
        case _:
            return "array"


def _kind_of_text(text: str) -> str:
    """A date or a moment only where Python, and so the contract's own checks, can read it."""
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text)
            return "date"
        if _TIMESTAMP.fullmatch(text):
            datetime.fromisoformat(text)
            return "timestamp"
    except ValueError:
        return "string"
    return "string"


def _not_json(word: str) -> None:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(digits)
    return number
