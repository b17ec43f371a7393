"""The properties of a contract as typed columns.

string, and time with a zone     text
date, timestamp, time            date; a moment, or a local timestamp with `timezone: false`; a local time
integer                          64 bits where format or bounds keep it there, else up to 38 digits
number                           a double; with `physicalType: decimal(p, s)` (or numeric) exact
object, array                    a struct, a list
"""

from __future__ import annotations

import re

from open_data_contract_standard.model import SchemaProperty

from streamlake.adapters.contract_catalog.odcs_fields import Array, Integer, Property, Record
from streamlake.domain.model.columns import Column, ColumnType, DecimalType, ListType, Scalar, StructType

_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)", re.IGNORECASE)
_MOST_DIGITS = 38
"""What a decimal or integer of 128 bits holds in DuckDB, Parquet, BigQuery (BIGNUMERIC) and Spark alike."""

_LONG = 2**63


def columns(record: Record, sources: list[SchemaProperty] | None) -> tuple[Column, ...]:
    """The columns of an object: `record` as it was read and checked, `sources` as the contract has it."""
    pairs = zip(record.properties, sources or (), strict=True)
    return tuple(Column(read.name, _type(read, source)) for read, source in pairs)


def _type(read: Property, source: SchemaProperty) -> ColumnType:
    match read.field:
        case Record() as record:
            return StructType(columns(record, source.properties))
        case Array() as array if source.items is not None:
            return ListType(_type(array.item, source.items))
        case Integer() as integer:
            return _integer(integer)
        case _:
            return _scalar(source)


def _integer(integer: Integer) -> Scalar:
    low, high = integer.minimum, integer.maximum
    within = low is not None and high is not None and low >= -_LONG and high < _LONG
    return Scalar.LONG if within else Scalar.INTEGER


def _scalar(source: SchemaProperty) -> ColumnType:
    zoned = (source.logicalTypeOptions or {}).get("timezone")
    match source.logicalType:
        case "boolean":
            return Scalar.BOOLEAN
        case "number":
            return _number(source.physicalType)
        case "date":
            return Scalar.DATE
        case "timestamp":
            return Scalar.LOCAL_TIMESTAMP if zoned is False else Scalar.TIMESTAMP
        case "time" if not zoned:
            return Scalar.LOCAL_TIME
        case _:
            return Scalar.TEXT


def _number(physical: str | None) -> ColumnType:
    found = _DECIMAL.fullmatch((physical or "").strip())
    if found:
        precision, scale = int(found[1]), int(found[2] or 0)
        if 1 <= precision <= _MOST_DIGITS and scale <= precision:
            return DecimalType(precision, scale)
    return Scalar.NUMBER
