"""The strict parser of one contract: bytes in, document or `ContractViolation` out, never another exception.

The bytes are parsed and judged in one pass of pydantic-core, without a line of Python. What that pass refuses is judged
again in full, to say why; it refuses a bit too much, namely numbers at a bound. Two rare cases are then read once more,
with the standard library and after pydantic has read them (so depth, encoding and integer sizes are already bounded):

- `NaN` or `Infinity` occurs in the bytes: pydantic accepts those words in unknown fields, JSON does not have them;
- a number is as close to one of its bounds as a double can tell. Rounding to a double keeps order, so only there can
  the digits of the payload and the double disagree about the bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError, SchemaValidator, ValidationError, core_schema
from pydantic_core.core_schema import CoreSchema

from streamlake.adapters.contract_catalog.odcs_errors import MAX_ERRORS, escaped, field_errors
from streamlake.adapters.contract_catalog.odcs_fields import (
    Array,
    Boolean,
    Bound,
    Field,
    Integer,
    Number,
    Property,
    Record,
    Text,
    moment_of,
)
from streamlake.adapters.contract_catalog.odcs_formats import FORMATS
from streamlake.domain.errors import ContractViolation, FieldError

_NOT_JSON = FieldError("", "json", "must be well-formed JSON: NaN and Infinity are not")
_EACH = None  # in a path: every element of an array
_Path = tuple[str | None, ...]
_OfNumber = Callable[[Number], CoreSchema]


class OdcsParser:
    """Callable, immutable, safe for several threads."""

    def __init__(self, contract: str, record: Record) -> None:
        self._contract = contract
        self._fast = SchemaValidator(_record(record, _open_number)).validate_json
        self._validator = SchemaValidator(_record(record, _number))
        self._bounded = tuple(_bounded(record))

    def __call__(self, payload: bytes) -> Mapping[str, object]:
        """The parsed document (a number without an integer's type becomes a float), or `ContractViolation`."""
        try:
            document: Mapping[str, object] | None = self._fast(payload, strict=True)
        except ValidationError:
            document = None
        # Judged out here so that no __context__ carries pydantic's error, which holds the payload.
        if document is None or b"NaN" in payload or b"Infinity" in payload:
            return self._judge(payload)
        return document

    def _judge(self, payload: bytes) -> Mapping[str, object]:
        near_a_bound: list[float] = []
        errors: tuple[FieldError, ...] = ()
        try:
            document: Mapping[str, object] = self._validator.validate_json(payload, strict=True, context=near_a_bound)
        except ValidationError as error:
            errors = field_errors(error)
        if (b"NaN" in payload or b"Infinity" in payload) and _says_nan(payload, errors):
            errors = (_NOT_JSON,)
        elif near_a_bound and not errors:
            errors = self._beyond_bounds(payload)
        # Raised out here so that no __context__ carries pydantic's error, which holds the payload.
        if errors:
            raise ContractViolation(self._contract, errors)
        return document

    def _beyond_bounds(self, payload: bytes) -> tuple[FieldError, ...]:
        document = json.loads(payload, parse_int=_exact, parse_float=_exact)
        broken = (
            FieldError(pointer, bound.rule, bound.expected)
            for path, bounds in self._bounded
            for pointer, value in _values(document, path)
            for bound in bounds
            if not bound.compare(value, bound.limit)
        )
        return tuple(islice(broken, MAX_ERRORS))


def _says_nan(payload: bytes, errors: tuple[FieldError, ...]) -> bool:
    """Whether NaN or Infinity is there as a word of the JSON, not in a string."""
    if errors and errors[0].rule == "json":
        return False  # not even pydantic could read it
    words: list[str] = []
    json.loads(payload, parse_constant=words.append, parse_int=len, parse_float=len)
    return bool(words)


def _record(record: Record, number: _OfNumber) -> CoreSchema:
    return core_schema.typed_dict_schema(
        {p.name: core_schema.typed_dict_field(_property(p, number), required=p.required) for p in record.properties},
        extra_behavior="forbid" if record.closed else "allow",
        strict=True,
    )


def _property(found: Property, number: _OfNumber) -> CoreSchema:
    schema = _field(found.field, number)
    return schema if found.required else core_schema.nullable_schema(schema)


def _field(field: Field, number: _OfNumber) -> CoreSchema:
    match field:
        case Text():
            return _text(field)
        case Integer():
            return _integer(field)
        case Number():
            return number(field)
        case Boolean():
            return core_schema.bool_schema(strict=True)
        case Record():
            return _record(field, number)
        case Array():
            return _array(field, number)


def _text(field: Text) -> CoreSchema:
    patterns = [p for p in (field.pattern, FORMATS[field.format] if field.format else None) if p]
    first = core_schema.str_schema(
        pattern=patterns[0] if patterns else None,
        min_length=field.min_length,
        max_length=field.max_length,
        strict=True,
    )
    steps: list[CoreSchema] = [first, *(core_schema.str_schema(pattern=p, strict=True) for p in patterns[1:])]
    if field.enum:
        known = core_schema.literal_schema(list(field.enum))
        steps = [known, *steps] if first.keys() - {"type", "strict"} else [known]
    schema = steps[0] if len(steps) == 1 else core_schema.chain_schema(steps)
    if not field.bounds:
        return schema
    return core_schema.no_info_after_validator_function(_moment_check(field), schema)


def _moment_check(field: Text) -> Callable[[str], str]:
    read = moment_of(field.format or "date-time")

    def check(text: str) -> str:
        moment = read(text)
        for bound in field.bounds:
            if not bound.compare(moment, bound.limit):
                raise _broken(bound)
        return text

    return check


_KNOWN: dict[str, tuple[Any, str]] = {
    "minimum": ("greater_than_equal", "ge"),
    "maximum": ("less_than_equal", "le"),
    "exclusiveMinimum": ("greater_than", "gt"),
    "exclusiveMaximum": ("less_than", "lt"),
}


def _integer(field: Integer) -> CoreSchema:
    schema = core_schema.int_schema(ge=field.minimum, le=field.maximum, multiple_of=field.multiple_of, strict=True)
    if not field.enum:
        return schema
    # A literal alone takes true and 1.0 for 1.
    return core_schema.chain_schema([schema, core_schema.literal_schema(list(field.enum))])


def _open_number(field: Number) -> CoreSchema:
    """Between the bounds, but not at them, where a double cannot tell."""
    limits = {_KNOWN[bound.rule][1][0] + "t": float(bound.limit) for bound in field.bounds}
    return core_schema.float_schema(strict=True, allow_inf_nan=False, gt=limits.get("gt"), lt=limits.get("lt"))


def _number(field: Number) -> CoreSchema:
    schema = core_schema.float_schema(strict=True, allow_inf_nan=False)
    if not field.bounds:
        return schema
    edges = tuple((bound, float(bound.limit), bound.compare) for bound in field.bounds)

    def check(value: float, info: core_schema.ValidationInfo) -> float:
        near_a_bound: list[float] = info.context  # type: ignore[assignment]
        for bound, edge, compare in edges:
            if value == edge:
                near_a_bound.append(value)
            elif not compare(value, edge):
                raise _broken(bound)
        return value

    return core_schema.with_info_after_validator_function(check, schema)


def _broken(bound: Bound[Any]) -> PydanticKnownError:
    kind, limit = _KNOWN[bound.rule]
    return PydanticKnownError(kind, {limit: bound.text})


def _array(field: Array, number: _OfNumber) -> CoreSchema:
    # fail_fast: a million bad elements are one error, not a million
    schema = core_schema.list_schema(
        _property(field.item, number),
        min_length=field.min_items,
        max_length=field.max_items,
        strict=True,
        fail_fast=True,
    )
    return core_schema.no_info_after_validator_function(_all_different, schema) if field.unique else schema


def _all_different(elements: list[object]) -> list[object]:
    if len(set(elements)) != len(elements):
        raise PydanticCustomError("unique", "elements must differ")
    return elements


def _bounded(record: Record, path: _Path = ()) -> Iterator[tuple[_Path, tuple[Bound[Decimal], ...]]]:
    """Where the bounded numbers of a document are."""
    for found in record.properties:
        here, field = (*path, found.name), found.field
        while isinstance(field, Array):
            here, field = (*here, _EACH), field.item.field
        if isinstance(field, Record):
            yield from _bounded(field, here)
        elif isinstance(field, Number) and field.bounds:
            yield here, field.bounds


def _values(document: Any, path: _Path, pointer: str = "") -> Iterator[tuple[str, Decimal]]:
    """The numbers at a path of a document already found valid, each with its JSON pointer."""
    if document is None:
        return
    if not path:
        yield pointer, document
    elif path[0] is _EACH:
        for index, element in enumerate(document):
            yield from _values(element, path[1:], f"{pointer}/{index}")
    else:
        yield from _values(document.get(path[0]), path[1:], f"{pointer}/{escaped(path[0])}")


def _exact(digits: str) -> Decimal:
    """The number itself. An exponent beyond Decimal's is a zero with a sign here: infinities are refused before."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        mantissa = Decimal(digits.lower().partition("e")[0])
        return Decimal(0) if mantissa == 0 else Decimal(1).copy_sign(mantissa).scaleb(-1_000)
