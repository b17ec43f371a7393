"""ODCS properties as StreamLake understands them: every option is either taken over here or refused.

A property is nullable unless `required`; so is an array's element. `required` means present and not null.

    string      minLength, maxLength, pattern (a full match), enum, and format: date-time (zone required), date,
                time (zone required), uuid, email, uri, hostname, ipv4, ipv6
    date        YYYY-MM-DD; bounds (minimum, maximum, exclusiveMinimum, exclusiveMaximum)
    timestamp   RFC 3339 with a zone; `timezone: false` means without one; bounds, compared at microseconds
    time        HH:MM:SS[.fraction] without a zone; `timezone: true` means with one; bounds
    integer     written without fraction or exponent, up to 4,300 digits; bounds, multipleOf, format i8...u128, enum
    number      any JSON number within a double's range; bounds, judged on the payload's own digits; format f64
    boolean     no options
    object      properties; customProperty `additionalProperties`
    array       items; minItems, maxItems, uniqueItems (of strings, integers, booleans, dates and times)
"""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from math import ceil, floor
from typing import TypeVar

from open_data_contract_standard.model import SchemaObject, SchemaProperty

from streamlake.adapters.contract_catalog.odcs_custom import forbids_unknown_fields, refuse_ours
from streamlake.adapters.contract_catalog.odcs_fields import (
    Array,
    Boolean,
    Bound,
    Field,
    Integer,
    Moment,
    Number,
    Property,
    Record,
    Text,
    moment_of,
)
from streamlake.adapters.contract_catalog.odcs_formats import FORMATS, portable
from streamlake.domain.errors import ContractInvalid

_STRING_FORMATS = ("date-time", "date", "time", "uuid", "email", "uri", "hostname", "ipv4", "ipv6")
_INTEGER_FORMATS = tuple(f"{sign}{bits}" for sign in "iu" for bits in (8, 16, 32, 64, 128))
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LARGEST_DOUBLE = Decimal(repr(sys.float_info.max))
_LARGEST_SIZE = 2**63 - 1
_LARGEST_LEAST = 16 * 1024 * 1024
"""Characters and elements that a contract may ask for at least: as many as the bytes of the largest batch."""
_KINDS: dict[type, str] = {str: "a string", int: "an integer"}
_T = TypeVar("_T", str, int)


class _Options:
    """One property's options: whatever is not taken is refused by name, so nothing is silently ignored."""

    def __init__(self, where: str, source: SchemaProperty) -> None:
        self.where = where
        self.source = source
        self._left = dict(source.logicalTypeOptions or {})
        self._enum_taken = False

    def refuse(self, option: str, why: str) -> ContractInvalid:
        return ContractInvalid(f"{self.where}: {option}: {why}")

    def refuse_the_rest(self) -> None:
        for option in self._left:
            raise self.refuse(option, f"is not supported on {self.source.logicalType}")
        if self.source.enum is not None and not self._enum_taken:
            raise self.refuse("enum", f"is not supported on {self.source.logicalType}")

    def take(self, option: str) -> object:
        return self._left.pop(option, None)

    def flag(self, option: str) -> bool | None:
        value = self.take(option)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(option, f"must be true or false, is {value!r}")
        return value

    def size(self, option: str) -> int | None:
        value = self.take(option)
        if value is not None and (type(value) is not int or not 0 <= value <= _LARGEST_SIZE):
            raise self.refuse(option, f"must be an integer from 0 to {_LARGEST_SIZE}, is {value!r}")
        return value

    def format(self, *known: str) -> str | None:
        value = self.take("format")
        if value is not None and value not in known:
            raise self.refuse("format", f"must be one of {', '.join(known)}, is {value!r}")
        return value

    def bounds(self) -> list[tuple[str, object]]:
        return [(rule, self._left.pop(rule)) for rule in _BOUNDS if rule in self._left]

    def enum(self, kind: type[_T]) -> tuple[_T, ...]:
        self._enum_taken = True
        return tuple(self._of(kind, entry.value) for entry in self.source.enum or ())

    def _of(self, kind: type[_T], value: object) -> _T:
        if type(value) is kind:  # exactly: YAML reads a bare NO as false, and true would pass for 1
            return value
        raise self.refuse("enum", f"every value must be {_KINDS[kind]}, {value!r} is not")


def read_record(file: str, schema: SchemaObject, *, closed: bool) -> Record:
    """The document a contract's one schema object describes. Raises `ContractInvalid`."""
    closed = forbids_unknown_fields(f"{file}: schema {schema.name}", schema.customProperties, inherited=closed)
    return _record(file, "", schema.properties, closed=closed)


def _record(file: str, path: str, properties: list[SchemaProperty] | None, *, closed: bool) -> Record:
    where = f"{file}: property {path}" if path else f"{file}: schema"
    if not properties:
        raise ContractInvalid(f"{where}: properties: there must be at least one")
    names = [found.name or "" for found in properties]
    for name in names:
        if not name or names.count(name) > 1:
            raise ContractInvalid(f"{where}: properties: names must be unique and not empty, {name!r} is not")
    if path:
        read = [_property(file, f"{path}.{p.name}", p, closed=closed) for p in properties]
    else:
        read = [_property(file, str(p.name), p, closed=closed, nested=False) for p in properties]
    return Record(tuple(read), closed)


def _property(file: str, path: str, source: SchemaProperty, *, closed: bool, nested: bool = True) -> Property:
    options = _Options(f"{file}: property {path}", source)
    if source.primaryKey and nested:
        raise options.refuse("primaryKey", "the key must be a top-level property")
    if source.logicalType == "object":
        closed = forbids_unknown_fields(options.where, source.customProperties, inherited=closed)
        field: Field = _record(file, path, source.properties, closed=closed)
    elif source.logicalType == "array":
        refuse_ours(options.where, source.customProperties)
        field = _array(file, path, source, options, closed=closed)
    else:
        refuse_ours(options.where, source.customProperties)
        field = _scalar(options)
    options.refuse_the_rest()
    if (least := _least(field)) > _LARGEST_LEAST:
        rule = "minItems" if isinstance(field, Array) else "minLength"
        raise options.refuse(
            rule, f"asks for {least:,} characters or elements, no event may need over {_LARGEST_LEAST:,}"
        )
    examples = tuple(source.examples or ())
    return Property(source.name or "", field, bool(source.required), source.description, examples)


def _array(file: str, path: str, source: SchemaProperty, options: _Options, *, closed: bool) -> Array:
    if source.items is None:
        raise ContractInvalid(f"{options.where}: items: an array must say what its elements are")
    item = _property(file, f"{path}[]", source.items, closed=closed)
    unique = options.flag("uniqueItems") or False
    if unique and isinstance(item.field, (Number, Record, Array)):
        raise options.refuse("uniqueItems", "works on strings, integers, booleans, dates and times only")
    return Array(item, options.size("minItems"), options.size("maxItems"), unique)


def _least(field: Field) -> int:
    """How many characters and elements the shortest value has, roughly."""
    match field:
        case Text():
            return field.min_length or 1
        case Array():
            return (field.min_items or 1) * _least(field.item.field)
        case Record():
            return sum(_least(found.field) for found in field.properties)
        case _:
            return 1


def _scalar(options: _Options) -> Field:
    match options.source.logicalType:
        case "string":
            return _string(options)
        case "date":
            return _moment(options, "date")
        case "timestamp":
            return _moment(options, "local-date-time" if options.flag("timezone") is False else "date-time")
        case "time":
            return _moment(options, "time" if options.flag("timezone") else "local-time")
        case "integer":
            return _integer(options)
        case "number":
            options.format("f64")
            return Number(tuple(_number_bound(options, rule, value) for rule, value in options.bounds()))
        case "boolean":
            return Boolean()
        case unknown:
            raise ContractInvalid(f"{options.where}: logicalType: {unknown or 'none'} is not supported")


def _string(options: _Options) -> Text:
    pattern = options.take("pattern")
    try:
        anchored = None if pattern is None else portable(str(pattern))
    except ValueError as error:
        raise options.refuse("pattern", str(error)) from error
    return Text(
        format=options.format(*_STRING_FORMATS),
        pattern=anchored,
        min_length=options.size("minLength"),
        max_length=options.size("maxLength"),
        enum=options.enum(str),
    )


def _moment(options: _Options, kind: str) -> Text:
    read = moment_of(kind)
    bounds: list[Bound[Moment]] = []
    for rule, text in options.bounds():
        if not isinstance(text, str) or not re.fullmatch(FORMATS[kind], text):
            raise options.refuse(rule, f"must be a {kind} in quotes, is {text!r}")
        bounds.append(Bound(rule, text, read(text)))
    return Text(format=kind, enum=options.enum(str), bounds=tuple(bounds))


def _integer(options: _Options) -> Integer:
    low, high = _integer_range(options.format(*_INTEGER_FORMATS))
    for rule, value in options.bounds():
        limit = _number_bound(options, rule, value).limit
        if rule == "minimum":
            low = ceil(limit) if low is None else max(low, ceil(limit))
        elif rule == "exclusiveMinimum":
            low = floor(limit) + 1 if low is None else max(low, floor(limit) + 1)
        elif rule == "maximum":
            high = floor(limit) if high is None else min(high, floor(limit))
        else:
            high = ceil(limit) - 1 if high is None else min(high, ceil(limit) - 1)
    multiple_of = options.take("multipleOf")
    if multiple_of is not None and not isinstance(multiple_of, int):
        raise options.refuse("multipleOf", f"must be an integer, is {multiple_of!r}")
    return Integer(low, high, multiple_of, options.enum(int))


def _integer_range(bits: str | None) -> tuple[int | None, int | None]:
    if bits is None:
        return None, None
    size = int(bits[1:])
    return (0, 2**size - 1) if bits[0] == "u" else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)


def _number_bound(options: _Options, rule: str, value: object) -> Bound[Decimal]:
    """A bound of exactly what the contract's text says (the file's reader refuses floats that do not carry it)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise options.refuse(rule, f"must be a number, is {value!r}")
    limit = Decimal(repr(value))
    if not limit.is_finite() or abs(limit) > _LARGEST_DOUBLE:
        raise options.refuse(rule, f"must be within a double's range, is {value!r}")
    return Bound(rule, repr(value), limit)
