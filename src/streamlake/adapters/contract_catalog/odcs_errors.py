"""pydantic's errors as `FieldError`s: the contract's own words and names only, never anything of the payload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic_core import ValidationError

from streamlake.adapters.contract_catalog.odcs_formats import FORMAT_OF
from streamlake.domain.errors import FieldError

MAX_ERRORS = 20
"""The rest is left out: field errors travel in a Kafka header."""

_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
}
_RULES = {
    "missing": ("required", "is required"),
    "json_invalid": ("json", "must be well-formed JSON: {error}"),
    "finite_number": ("finite", "must be a number within a double's range"),
    "string_too_short": ("minLength", "must have at least {min_length} characters"),
    "string_too_long": ("maxLength", "must have at most {max_length} characters"),
    "too_short": ("minItems", "must have at least {min_length} elements"),
    "too_long": ("maxItems", "must have at most {max_length} elements"),
    "unique": ("uniqueItems", "must not hold an element twice"),
    "literal_error": ("enum", "must be {expected}"),
    "greater_than_equal": ("minimum", "must be >= {ge}"),
    "less_than_equal": ("maximum", "must be <= {le}"),
    "greater_than": ("exclusiveMinimum", "must be > {gt}"),
    "less_than": ("exclusiveMaximum", "must be < {lt}"),
    "multiple_of": ("multipleOf", "must be a multiple of {multiple_of}"),
}


def escaped(name: str) -> str:
    """A name as a JSON pointer's token (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """At least one, at most `MAX_ERRORS`, in the contract's order; unknown fields are counted, not named."""
    found: list[FieldError] = []
    unknown: Counter[str] = Counter()
    for detail in error.errors(include_url=False):
        where = detail["loc"]
        if detail["type"] == "extra_forbidden":
            unknown[_pointer(where[:-1])] += 1  # its name came with the payload
        else:
            found.append(_field_error(_pointer(where), detail["type"], detail.get("ctx", {}), detail["input"]))
    found += (
        FieldError(pointer, "additional", f"must have no fields the contract does not know, has {count}")
        for pointer, count in unknown.items()
    )
    return tuple(found[:MAX_ERRORS])


def _pointer(where: tuple[int | str, ...]) -> str:
    return "".join(f"/{escaped(str(token))}" for token in where)


def _field_error(pointer: str, kind: str, context: Mapping[str, Any], value: object) -> FieldError:
    if kind in _TYPES:
        rule, expected = "type", f"must be {_TYPES[kind]}"
    elif kind == "string_pattern_mismatch":
        rule, expected = _mismatch(context["pattern"])
    else:
        rule, expected = _RULES.get(kind, (kind, "is not what the contract asks for"))
        expected = expected.format_map(context)
    if value is None and pointer:  # pydantic calls it a wrong type or value; to a contract it is absence
        return FieldError(pointer, "required", f"{expected} and not null")
    return FieldError(pointer, rule, expected)


def _mismatch(pattern: str) -> tuple[str, str]:
    name = FORMAT_OF.get(pattern)
    return ("pattern", f"must match {pattern}") if name is None else ("format", f"must be a valid {name}")
