"""What a property may hold, whoever wrote it down: the values between the contract file and its validator."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Generic, TypeAlias, TypeVar

Moment: TypeAlias = date | time
Limit = TypeVar("Limit", Decimal, Moment)

_COMPARE: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": (">=", operator.ge),
    "maximum": ("<=", operator.le),
    "exclusiveMinimum": (">", operator.gt),
    "exclusiveMaximum": ("<", operator.lt),
}


@dataclass(frozen=True, slots=True)
class Bound(Generic[Limit]):
    """One bound: `rule` is its ODCS name, `text` is how the contract writes it."""

    rule: str
    text: str
    limit: Limit

    @property
    def expected(self) -> str:
        return f"must be {_COMPARE[self.rule][0]} {self.text}"

    @property
    def number(self) -> int | float:
        """The limit of a number as JSON writes it, without loss: the file's reader saw to that."""
        return int(self.text) if self.text.lstrip("-").isdigit() else float(self.text)

    @property
    def compare(self) -> Callable[[Any, Any], bool]:
        """Whether a value (left) keeps the bound (right)."""
        return _COMPARE[self.rule][1]


@dataclass(frozen=True, slots=True)
class Text:
    """A string: plain, of a format, or a date, timestamp or time (then with bounds)."""

    format: str | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    enum: tuple[str, ...] = ()
    bounds: tuple[Bound[Moment], ...] = ()


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number; both bounds inclusive."""

    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None
    enum: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """Any JSON number."""

    bounds: tuple[Bound[Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Record:
    """An object; `closed` refuses fields it does not know."""

    properties: tuple[Property, ...]
    closed: bool


@dataclass(frozen=True, slots=True)
class Array:
    """An array of one kind of element."""

    item: Property
    min_items: int | None = None
    max_items: int | None = None
    unique: bool = False


Field: TypeAlias = Text | Integer | Number | Boolean | Record | Array


@dataclass(frozen=True, slots=True)
class Property:
    """A named field, or (nameless) the element of an array."""

    name: str
    field: Field
    required: bool
    description: str | None
    examples: tuple[object, ...]


def moment_of(kind: str) -> Callable[[str], Moment]:
    """What reads a text of that date or time format, so that it can be compared."""
    if kind == "date":
        return date.fromisoformat
    if kind.endswith("date-time"):
        return lambda text: datetime.fromisoformat(text.upper())  # Python wants T and Z, RFC 3339 allows t and z
    return lambda text: time.fromisoformat(text.upper())
