"""What a contract publishes: its JSON Schema (draft 2020-12) and an example, both from the fields the parser is of.

Where they differ from the parser, JSON Schema cannot say it: bounds of dates and times stand in the description, and as
`formatMinimum` and the like (keywords of Ajv, which others do not look at); `1.0` is an integer to JSON Schema but not
to a contract, and formats are assertions here but annotations to some validators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlake.adapters.contract_catalog.odcs_fields import (
    Array,
    Boolean,
    Field,
    Integer,
    Number,
    Property,
    Record,
    Text,
)
from streamlake.adapters.contract_catalog.odcs_formats import FORMATS, SAMPLES

JsonSchema = dict[str, Any]


def json_schema(title: str, description: str, record: Record) -> Mapping[str, object]:
    """The document's schema, with its dialect and title."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | ({"description": description} if description else {}) | _record(record)


def example(record: Record) -> Mapping[str, object]:
    """A document from the contract's `examples`, the rest made up from the types.

    An optional field that only a pattern describes and that has no example is left out.
    """
    made = ((p.name, _sample(p)) for p in record.properties)
    return {name: value for name, value in made if value is not None}


def _record(record: Record) -> JsonSchema:
    schema: JsonSchema = {"type": "object", "properties": {p.name: _property(p) for p in record.properties}}
    required = [p.name for p in record.properties if p.required]
    if required:
        schema["required"] = required
    if record.closed:
        schema["additionalProperties"] = False
    return schema


def _property(found: Property) -> JsonSchema:
    schema = _field(found.field)
    if not found.required:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    bounds = found.field.bounds if isinstance(found.field, Text) else ()
    schema |= {f"format{bound.rule[0].upper()}{bound.rule[1:]}": bound.text for bound in bounds}
    says = [text for text in (found.description, *(bound.expected for bound in bounds)) if text]
    return schema | ({"description": "; ".join(says)} if says else {})


def _field(field: Field) -> JsonSchema:
    match field:
        case Text():
            return _text(field)
        case Integer():
            limits = {"minimum": field.minimum, "maximum": field.maximum, "multipleOf": field.multiple_of}
            return {"type": "integer"} | _given(limits) | ({"enum": list(field.enum)} if field.enum else {})
        case Number():
            return {"type": "number"} | {bound.rule: bound.number for bound in field.bounds}
        case Boolean():
            return {"type": "boolean"}
        case Record():
            return _record(field)
        case Array():
            limits = {"minItems": field.min_items, "maxItems": field.max_items}
            unique = {"uniqueItems": True} if field.unique else {}
            return {"type": "array", "items": _property(field.item)} | _given(limits) | unique


def _text(field: Text) -> JsonSchema:
    schema: JsonSchema = {"type": "string"}
    if field.enum:
        schema["enum"] = list(field.enum)
    schema |= _given({"pattern": field.pattern, "minLength": field.min_length, "maxLength": field.max_length})
    if field.format and field.format.startswith("local-"):
        return schema | {"pattern": FORMATS[field.format]}  # no JSON Schema format is without a zone
    return schema | _given({"format": field.format})


def _given(keywords: Mapping[str, object]) -> JsonSchema:
    return {name: value for name, value in keywords.items() if value is not None}


def _sample(found: Property) -> object:
    if found.examples:
        return found.examples[0]
    match found.field:
        case Text() as text:
            return _sample_text(text)
        case Integer() as integer:
            return _sample_integer(integer)
        case Number() as number:
            return _sample_number(number)
        case Boolean():
            return True
        case Record() as record:
            return example(record)
        case Array() as array:
            element = _sample(array.item)
            return [] if element is None else [element] * max(1, array.min_items or 0)


def _sample_text(text: Text) -> str | None:
    if text.enum:
        return text.enum[0]
    if text.pattern:
        return None
    if text.bounds:
        return text.bounds[0].text
    if text.format:
        return SAMPLES[text.format]
    length = max(text.min_length or 0, 4)
    return ("text" * length)[: min(length, text.max_length if text.max_length is not None else length)]


def _sample_integer(integer: Integer) -> int:
    if integer.enum:
        return integer.enum[0]
    step = integer.multiple_of or 1
    if integer.minimum is not None and integer.minimum > 0:
        return -(-integer.minimum // step) * step
    if integer.maximum is not None and integer.maximum < 0:
        return integer.maximum // step * step
    return 0


def _sample_number(number: Number) -> int | float:
    limits = {bound.rule: bound.number for bound in number.bounds}
    low = max((v for rule, v in limits.items() if rule.lower().endswith("minimum")), default=None)
    high = min((v for rule, v in limits.items() if rule.lower().endswith("maximum")), default=None)
    if low is not None and high is not None:
        return low + (high - low) / 2
    if low is not None:
        return low + 1
    return 0 if high is None else high - 1
