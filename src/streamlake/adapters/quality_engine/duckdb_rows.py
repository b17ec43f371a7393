"""Envelopes as Arrow columns typed by the contract.

Payloads are read by msgspec, since DuckDB's own JSON reader loses digits and refuses a key that is there twice. What is
not of its column's type becomes null in the column and is counted as a misfit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from types import GenericAlias
from typing import Annotated, Any, TypedDict

import msgspec
import pyarrow as pa

from streamlake.domain.model.columns import Column, ColumnType, DecimalType, ListType, Scalar, StructType

ROWS_AT_ONCE = 32_768
"""Rows that are columns in memory at a time."""

_typed_dict: Any = TypedDict  # made of a contract's names, which no type checker knows
_WIDE = pa.decimal128(38, 0)
_PYTHON: dict[Scalar, Any] = {
    Scalar.TEXT: str,
    Scalar.INTEGER: int,
    Scalar.LONG: int,
    Scalar.NUMBER: float,
    Scalar.BOOLEAN: bool,
    Scalar.DATE: date,
    Scalar.TIMESTAMP: Annotated[datetime, msgspec.Meta(tz=True)],
    Scalar.LOCAL_TIMESTAMP: Annotated[datetime, msgspec.Meta(tz=False)],
    Scalar.LOCAL_TIME: Annotated[time, msgspec.Meta(tz=False)],
}
_ARROW: dict[Scalar, Any] = {
    Scalar.TEXT: pa.string(),
    Scalar.INTEGER: _WIDE,
    Scalar.LONG: pa.int64(),
    Scalar.NUMBER: pa.float64(),
    Scalar.BOOLEAN: pa.bool_(),
    Scalar.DATE: pa.date32(),
    Scalar.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Scalar.LOCAL_TIMESTAMP: pa.timestamp("us"),
    Scalar.LOCAL_TIME: pa.time64("us"),
}
_UNFIT = (pa.ArrowException, OverflowError, ValueError, TypeError)
"""What Arrow raises of a value that a type cannot hold."""


class Envelope(msgspec.Struct, gc=False):
    """What is needed of one."""

    partition: int
    offset: int
    timestamp: int
    schema_version: str
    payload: msgspec.Raw


_envelope = msgspec.json.Decoder(Envelope)


def chunks(envelopes: Iterable[bytes]) -> Iterator[dict[str, list[Envelope]]]:
    """The envelopes by schema version, `ROWS_AT_ONCE` at a time. Raises `msgspec.MsgspecError`."""
    lines = iter(envelopes)
    while some := list(islice(lines, ROWS_AT_ONCE)):
        found: dict[str, list[Envelope]] = {}
        for row in map(_envelope.decode, some):
            found.setdefault(row.schema_version, []).append(row)
        yield found


class PayloadColumns:
    """The columns of one contract version. `misfits` counts, by index, the values that are not of their type."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.misfits: Counter[int] = Counter()
        self._columns = columns
        fields = [(f"c{index}", _python(column.type) | None, None) for index, column in enumerate(columns)]
        names = {f"c{index}": column.name for index, column in enumerate(columns)}
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Payload", fields, rename=names, gc=False))

    def table(self, part: int, rows: Sequence[Envelope]) -> Any:
        """An Arrow table: part, partition, offset, timestamp, and every column by its index."""
        payloads = [self._payload(row.payload) for row in rows]
        columns = {
            "n": pa.repeat(pa.scalar(part, pa.int32()), len(rows)),
            "p": pa.array([row.partition for row in rows], pa.int32()),
            "o": pa.array([row.offset for row in rows], pa.int64()),
            "t": pa.array([row.timestamp for row in rows], pa.int64()),
        }
        for index, column in enumerate(self._columns):
            field = f"c{index}"
            columns[field] = self._array(index, column.type, [getattr(payload, field) for payload in payloads])
        return pa.table(columns)

    def _payload(self, payload: msgspec.Raw) -> Any:
        try:
            return self._decoder.decode(payload)
        except msgspec.MsgspecError:
            return self._one_by_one(payload)

    def _one_by_one(self, payload: msgspec.Raw) -> Any:
        """What fits of a payload that is not what the contract says."""
        try:
            document = msgspec.json.decode(payload)
        except msgspec.MsgspecError:
            document = None
        made = self._decoder.decode(b"{}")
        if not isinstance(document, dict):
            self.misfits.update(range(len(self._columns)))
            return made
        for index, column in enumerate(self._columns):
            value = document.get(column.name)
            try:
                setattr(made, f"c{index}", _convert(value, column.type))
            except msgspec.MsgspecError:
                self.misfits[index] += 1
        return made

    def _array(self, index: int, kind: ColumnType, values: list[Any]) -> Any:
        if kind is Scalar.INTEGER:  # nearly always within 64 bits, where no decimals need to be made
            try:
                return pa.array(values, pa.int64())
            except _UNFIT:
                pass
        arrow = arrow_type(kind)
        fit = _fit(kind)
        try:
            return pa.array(values, arrow)
        except _UNFIT:
            kept = [None if value is None else fit(value) for value in values]
        self.misfits[index] += sum(1 for old, new in zip(values, kept, strict=True) if old is not None and new is None)
        return pa.array(kept, arrow)


def _python(kind: ColumnType) -> Any:
    match kind:
        case DecimalType():
            return Decimal
        case ListType(item):
            return GenericAlias(list, (_python(item) | None,))
        case StructType(fields):
            # a dictionary with typed values; what the contract does not know is left out
            return _typed_dict("Fields", {f.name: _python(f.type) | None for f in fields}, total=False)
        case _:
            return _PYTHON[kind]


def _convert(value: Any, kind: ColumnType) -> Any:
    return msgspec.convert(value, _python(kind) | None)


def arrow_type(kind: ColumnType) -> Any:
    """The Arrow type of a column."""
    match kind:
        case DecimalType(precision, scale):
            return pa.decimal128(precision, scale)
        case ListType(item):
            return pa.list_(arrow_type(item))
        case StructType(fields):
            return pa.struct([pa.field(field.name, arrow_type(field.type)) for field in fields])
        case _:
            return _ARROW[kind]


def _fit(kind: ColumnType) -> Callable[[Any], Any]:
    """Gives a value as the type can hold it without loss, or None."""
    arrow = arrow_type(kind)

    def fit(value: Any) -> Any:
        if isinstance(kind, DecimalType) and isinstance(value, Decimal):
            value = _rescaled(value, kind)
        try:
            pa.array([value], arrow)
        except _UNFIT:
            return None
        return value

    return fit


def _rescaled(value: Decimal, kind: DecimalType) -> Decimal | None:
    """`1.500` as `1.50`: zeros may go, other digits may not."""
    if not value.is_finite() or value.adjusted() >= kind.precision - kind.scale:
        return None
    shorter = round(value, kind.scale)
    return shorter if shorter == value else None
