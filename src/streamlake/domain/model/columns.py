"""What the fields of a payload are, as the columns of a table: for whoever queries what has landed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Scalar(StrEnum):
    """One value. Numbers are doubles, as contracts define them; `DecimalType` is for those that say more."""

    TEXT = "text"
    INTEGER = "integer"
    LONG = "long"
    """An integer that the contract keeps within 64 bits."""
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """With a zone: a moment."""
    LOCAL_TIMESTAMP = "local timestamp"
    LOCAL_TIME = "local time"


@dataclass(frozen=True, slots=True)
class DecimalType:
    """A number of at most `precision` digits, `scale` of them behind the point; exact."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class ListType:
    """An array of one kind of element."""

    item: ColumnType


@dataclass(frozen=True, slots=True)
class StructType:
    """An object with fields."""

    fields: tuple[Column, ...]


ColumnType: TypeAlias = Scalar | DecimalType | ListType | StructType


@dataclass(frozen=True, slots=True)
class Column:
    """A named field."""

    name: str
    type: ColumnType
