"""Library metrics as SQL over the columns that `duckdb_rows` makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import cast

from streamlake.domain.model.columns import Column, ColumnType, DecimalType, ListType, Scalar, StructType
from streamlake.domain.model.quality_rules import EACH, INVALID_VALUES, Metric, Path, spelt

Predicate = Callable[[str, ColumnType], str]
"""From an expression and its type to a condition on it."""

_SQL = {
    Scalar.TEXT: "VARCHAR",
    Scalar.INTEGER: "HUGEINT",
    Scalar.LONG: "BIGINT",
    Scalar.NUMBER: "DOUBLE",
    Scalar.BOOLEAN: "BOOLEAN",
    Scalar.DATE: "DATE",
    Scalar.TIMESTAMP: "TIMESTAMPTZ",
    Scalar.LOCAL_TIMESTAMP: "TIMESTAMP",
    Scalar.LOCAL_TIME: "TIME",
}
_WHOLE = (Scalar.INTEGER, Scalar.LONG)


class Inexpressible(Exception):
    """A rule that cannot be put as SQL over these columns; the message says why."""


def sql_type(kind: ColumnType) -> str:
    """The DuckDB type of a column."""
    match kind:
        case DecimalType(precision, scale):
            return f"DECIMAL({precision}, {scale})"
        case ListType(item):
            return f"{sql_type(item)}[]"
        case StructType(fields):
            return f"STRUCT({', '.join(f'{quoted(field.name)} {sql_type(field.type)}' for field in fields)})"
        case _:
            return _SQL[kind]


def quoted(name: str) -> str:
    """An identifier."""
    return '"{}"'.format(name.replace('"', '""'))


def text(value: str) -> str:
    """A string literal."""
    return "'{}'".format(value.replace("'", "''"))


def clash(columns: Sequence[Column]) -> str | None:
    """Two names of one object that differ in case only, which SQL takes for one; None where there are none."""
    seen: set[str] = set()
    for column in columns:
        if column.name.casefold() in seen:
            return column.name
        seen.add(column.name.casefold())
    return next(filter(None, (clash_within(column.type) for column in columns)), None)


def clash_within(kind: ColumnType) -> str | None:
    """The same, in what a column holds."""
    match kind:
        case ListType(item):
            return clash_within(item)
        case StructType(fields):
            return clash(fields)
        case _:
            return None


def column_of(columns: Sequence[Column], path: Path) -> int:
    """Which column a path begins at. Raises `Inexpressible`."""
    for index, column in enumerate(columns):
        if column.name == path[0]:
            return index
    raise Inexpressible(f"{spelt(path)}: there is no such property")


def counted(metric: Metric, columns: Sequence[Column]) -> str:
    """The condition of the rows that a metric counts: nulls, missing or invalid values. Raises `Inexpressible`."""
    [path] = metric.paths
    index = column_of(columns, path)
    bad = _invalid(metric) if metric.metric == INVALID_VALUES else _missing(metric)
    return _at(f"c{index}", columns[index].type, path, 1, bad)


def repeats_within(metric: Metric, columns: Sequence[Column]) -> str:
    """The condition of rows whose array holds a value twice. Raises `Inexpressible`."""
    [path] = metric.paths
    last = len(path) - 1 - path[::-1].index(EACH)
    rest = path[last + 1 :]

    def repeats(array: str, kind: ColumnType) -> str:
        item = cast(ListType, kind).item
        value = _value("v", item, rest)[0]
        values = f"list_filter(list_transform({array}, lambda v: {value}), lambda v: v IS NOT NULL)"
        return f"len(list_distinct({values})) < len({values})"

    index = column_of(columns, path)
    return _at(f"c{index}", columns[index].type, path[:last], 1, repeats)


def value_at(path: Path, columns: Sequence[Column]) -> tuple[str, ColumnType]:
    """The expression of a value that is in no array, and its type. Raises `Inexpressible`."""
    index = column_of(columns, path)
    return _value(f"c{index}", columns[index].type, path[1:])


def _at(value: str, kind: ColumnType, path: Path, at: int, bad: Predicate) -> str:
    """`bad` at a path below `value`: within an absent object never, in an array where any element is."""
    if at == len(path):
        return bad(value, kind)
    if path[at] == EACH:
        if not isinstance(kind, ListType):
            raise Inexpressible(f"{spelt(path)}: is not in an array")
        element = f"x{at}"
        bad_elements = f"list_filter({value}, lambda {element}: {_at(element, kind.item, path, at + 1, bad)})"
        return f"coalesce(len({bad_elements}), 0) > 0"
    inner, inner_kind = _field(value, kind, path[at], path)
    return f"({value} IS NOT NULL AND {_at(inner, inner_kind, path, at + 1, bad)})"


def _value(value: str, kind: ColumnType, path: Path) -> tuple[str, ColumnType]:
    for name in path:
        value, kind = _field(value, kind, name, path)
    return value, kind


def _field(value: str, kind: ColumnType, name: str, path: Path) -> tuple[str, ColumnType]:
    for field in kind.fields if isinstance(kind, StructType) else ():
        if field.name == name:
            return f"struct_extract({value}, {text(name)})", field.type
    raise Inexpressible(f"{spelt(path)}: there is no such property")


def _missing(metric: Metric) -> Predicate:
    def bad(value: str, kind: ColumnType) -> str:
        listed = _literals(metric.missing, kind)
        return f"({value} IS NULL OR {value} IN ({listed}))" if listed else f"{value} IS NULL"

    return bad


def _invalid(metric: Metric) -> Predicate:
    def bad(value: str, kind: ColumnType) -> str:
        if isinstance(kind, (ListType, StructType)):
            raise Inexpressible("an object or array has no valid values and no pattern")
        keeps = []
        if metric.valid is not None:
            listed = _literals(metric.valid, kind)
            keeps.append(f"{value} IN ({listed})" if listed else "false")
        if metric.pattern is not None:
            keeps.append(f"regexp_matches(CAST({value} AS VARCHAR), {text(metric.pattern)})")
        return f"({value} IS NOT NULL AND NOT ({' AND '.join(keeps)}))"

    return bad


def _literals(values: Sequence[object], kind: ColumnType) -> str:
    return ", ".join(found for value in values if (found := _literal(value, kind)) is not None)


def _literal(value: object, kind: ColumnType) -> str | None:
    """A contract's value as one of the column's type; None where no value of that type equals it."""
    if isinstance(value, bool):
        return str(value).lower() if kind is Scalar.BOOLEAN else None
    if isinstance(value, (int, float)):
        return _number(Decimal(repr(value)), kind)
    if not isinstance(value, str) or isinstance(kind, (ListType, StructType, DecimalType)):
        return None
    if kind is Scalar.TEXT:
        return text(value)
    if kind in _WHOLE or kind in (Scalar.NUMBER, Scalar.BOOLEAN):
        return None
    return f"TRY_CAST({text(value)} AS {sql_type(kind)})"


def _number(value: Decimal, kind: ColumnType) -> str | None:
    if not value.is_finite():
        return None
    if kind is Scalar.NUMBER:
        return f"CAST({text(str(value))} AS DOUBLE)"
    if kind in _WHOLE:
        return f"{value:f}" if value == value.to_integral_value() else None
    if isinstance(kind, DecimalType):
        return f"TRY_CAST({text(f'{value:f}')} AS {sql_type(kind)})" if round(value, kind.scale) == value else None
    return None
