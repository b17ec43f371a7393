"""Every type and option, on both sides of its line: what is valid, what is not, by which rule, without an echo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from ipaddress import AddressValueError, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.unit.adapters.contract_catalog.odcs_files import contract_of, field, values

from streamlake.domain.errors import ContractInvalid, ContractViolation
from streamlake.domain.model.contracts import Contract


@dataclass(frozen=True)
class Case:
    """A property `x`, values (JSON texts) that are valid, and values that break a rule.

    `beyond` holds what JSON Schema (or the Python validator of it) judges differently; everything else is judged alike.
    """

    of: dict[str, Any]
    good: tuple[str, ...]
    bad: dict[str, str]
    beyond: tuple[str, ...] = ()


CLOSED = [{"property": "additionalProperties", "value": False}]
SKU = {"name": "sku", "logicalType": "string", "required": True}

CASES: dict[str, Case] = {
    "string": Case(
        field("string"),
        ("null", '""', '"a"', '"NaN"', r'"\u0000 \ud83d\ude00"', '"ünï 😀"'),
        {"1": "type", "true": "type", "[]": "type", "{}": "type", '["a"]': "type"},
    ),
    "required string": Case(field("string", required=True), ('""', '"a"'), {"null": "required"}),
    "length in characters, not bytes": Case(
        field("string", minLength=2, maxLength=3),
        ('"ab"', '"abc"', '"😀😀"', "null"),
        {'""': "minLength", '"a"': "minLength", '"😀"': "minLength", '"abcd"': "maxLength"},
    ),
    "pattern is a full match": Case(
        field("string", pattern="[a-z]+|[0-9]"),
        ('"abc"', '"7"'),
        {'"abc1"': "pattern", '"1abc"': "pattern", '"77"': "pattern", '""': "pattern", r'"abc\n"': "pattern"},
        beyond=(r'"abc\n"',),  # Python's $ matches before a last newline, ECMA-262's does not
    ),
    "every rule counts beside an enum": Case(
        field("string", enum=[{"value": "abc"}, {"value": "ab"}, {"value": "xyz"}], pattern="[a-c]+", minLength=3),
        ('"abc"', "null"),
        {'"ab"': "minLength", '"xyz"': "pattern", '"aaa"': "enum", "1": "enum"},
    ),
    "a format counts beside an enum": Case(
        field(
            "date",
            enum=[{"value": "2026-01-31"}, {"value": "2026-02-30"}, {"value": "2025-01-01"}],
            minimum="2026-01-01",
        ),
        ('"2026-01-31"',),
        {'"2026-02-30"': "format", '"2025-01-01"': "minimum", '"2026-01-30"': "enum"},
        beyond=('"2025-01-01"', '"2026-02-30"'),
    ),
    "bounds count beside an enum": Case(
        field("integer", enum=[{"value": 4}, {"value": 6}, {"value": 12}], maximum=8, multipleOf=4),
        ("4",),
        {"6": "multipleOf", "12": "maximum", "8": "enum"},
    ),
    "pattern with anchors of its own": Case(
        field("string", pattern="^[A-Z]{2}$"), ('"AB"',), {'"ABC"': "pattern", '"aAB"': "pattern"}
    ),
    "digits and word characters are ASCII": Case(
        field("string", pattern=r"\d+[\w.]\W"),
        ('"12a-"', '"1.é"'),
        {'"١a-"': "pattern", '"1é-"': "pattern", '"1aa"': "pattern"},
    ),
    "pattern and length": Case(
        field("string", pattern="a*", maxLength=2), ('""', '"aa"'), {'"aaa"': "maxLength", '"b"': "pattern"}
    ),
    "string enum": Case(
        field("string", enum=values("EUR", "USD")),
        ('"EUR"', '"USD"', "null"),
        {'"eur"': "enum", '"EUR "': "enum", '""': "enum", "1": "enum", '["EUR"]': "enum"},
    ),
    "required enum": Case(
        field("string", required=True, enum=values("a")), ('"a"',), {"null": "required", '"b"': "enum"}
    ),
    "date-time": Case(
        field("string", format="date-time"),
        ('"2026-01-31T09:30:00Z"', '"2026-01-31T09:30:00.123456789+05:30"', '"2024-02-29T23:59:59-23:59"'),
        {'"2026-01-31T09:30:00"': "format", '"2026-02-29T09:30:00Z"': "format", '"1700000000"': "format", "1": "type"},
    ),
    "timestamp": Case(
        field("timestamp"),
        ('"2026-01-31T09:30:00Z"', '"2026-01-31t09:30:00z"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.9Z"'),
        {
            '"2026-01-31T09:30:00"': "format",
            '"2026-01-31 09:30:00Z"': "format",
            '"2026-01-31T24:00:00Z"': "format",
            '"2026-01-31T23:60:00Z"': "format",
            '"2026-12-31T23:59:60Z"': "format",
            '"2026-01-31T09:30Z"': "format",
            '"2026-01-31T09:30:00.Z"': "format",
            '"2026-01-31T09:30:00+24:00"': "format",
            '"0000-01-01T00:00:00Z"': "format",
            '"2026-13-01T00:00:00Z"': "format",
            '"2026-01-31"': "format",
            '"1769851800"': "format",
            '" 2026-01-31T09:30:00Z"': "format",
            "1769851800": "type",
        },
        beyond=('"2026-12-31T23:59:60Z"',),  # a leap second: RFC 3339 has them, Python and DuckDB do not
    ),
    "timestamp without a zone": Case(
        field("timestamp", timezone=False),
        ('"2026-01-31T09:30:00"', '"2026-01-31T09:30:00.5"'),
        {'"2026-01-31T09:30:00Z"': "format", '"2026-02-30T09:30:00"': "format"},
    ),
    "timestamp bounds compare instants": Case(
        field("timestamp", minimum="2026-01-01T00:00:00Z", exclusiveMaximum="2027-01-01T00:00:00Z"),
        ('"2026-01-01T00:00:00Z"', '"2026-12-31T23:59:59.999999Z"', '"2025-12-31T23:00:00-01:00"'),
        {
            '"2025-12-31T23:59:59Z"': "minimum",
            '"2026-01-01T00:59:59+01:00"': "minimum",
            '"2027-01-01T00:00:00Z"': "exclusiveMaximum",
            '"0001-01-01T00:00:00+23:59"': "minimum",
            '"9999-12-31T23:59:59-23:59"': "exclusiveMaximum",
        },
        beyond=(
            '"2025-12-31T23:59:59Z"',
            '"2026-01-01T00:59:59+01:00"',
            '"2027-01-01T00:00:00Z"',
            '"0001-01-01T00:00:00+23:59"',
            '"9999-12-31T23:59:59-23:59"',
        ),
    ),
    "date": Case(
        field("date"),
        ('"2026-01-31"', '"2000-02-29"', '"0004-02-29"', "null"),
        {
            '"1900-02-29"': "format",
            '"2026-1-31"': "format",
            '"20260131"': "format",
            '"2026-04-31"': "format",
            "1": "type",
        },
    ),
    "date bounds": Case(
        field("date", exclusiveMinimum="2026-01-01", maximum="2026-12-31"),
        ('"2026-01-02"', '"2026-12-31"'),
        {'"2026-01-01"': "exclusiveMinimum", '"2027-01-01"': "maximum"},
        beyond=('"2026-01-01"', '"2027-01-01"'),
    ),
    "time": Case(
        field("time"),
        ('"00:00:00"', '"23:59:59.999999999"'),
        {'"24:00:00"': "format", '"12:00"': "format", '"12:00:00Z"': "format", '"1:00:00"': "format"},
    ),
    "time with a zone": Case(
        field("time", timezone=True),
        ('"12:00:00Z"', '"12:00:00+01:00"'),
        {'"12:00:00"': "format", '"12:60:00Z"': "format"},
    ),
    "time bounds": Case(
        field("time", minimum="08:00:00", maximum="18:00:00"),
        ('"08:00:00"', '"18:00:00"'),
        {'"07:59:59.9"': "minimum", '"18:00:00.1"': "maximum"},
        beyond=('"07:59:59.9"', '"18:00:00.1"'),
    ),
    "uuid": Case(
        field("string", format="uuid"),
        ('"0190a6f0-7c1e-7d3a-9b52-3f1f6f0a1b2c"', '"0190A6F0-7C1E-7D3A-9B52-3F1F6F0A1B2C"'),
        {'"0190a6f07c1e7d3a9b523f1f6f0a1b2c"': "format", '"{0190a6f0-7c1e-7d3a-9b52-3f1f6f0a1b2c}"': "format"},
    ),
    "email": Case(
        field("string", format="email"),
        ('"a.b+c@example.com"', '"a@localhost"'),
        {'"a"': "format", '"a@"': "format", '"a b@example.com"': "format", '"a@b..c"': "format"},
        beyond=('"a@"', '"a b@example.com"', '"a@b..c"'),  # the Python validator only looks for an @
    ),
    "uri": Case(
        field("string", format="uri"),
        ('"https://example.com/a?b=c#d"', '"urn:isbn:0451450523"', '"mailto:a@example.com"', '"http://[::1]:80/"'),
        {'"/a/b"': "format", '"example.com"': "format", '"http://a b"': "format", '"http://a/%zz"': "format"},
    ),
    "hostname": Case(
        field("string", format="hostname"),
        ('"example.com"', '"a-1.example"'),
        {'"-a.example"': "format", '"a_b.example"': "format", '"a..b"': "format"},
        beyond=('"-a.example"', '"a_b.example"', '"a..b"'),  # the Python validator needs a package for it
    ),
    "ipv4": Case(
        field("string", format="ipv4"),
        ('"192.0.2.255"',),
        {'"192.0.2.256"': "format", '"1.2.3"': "format", '"01.2.3.4"': "format"},
    ),
    "ipv6": Case(
        field("string", format="ipv6"),
        ('"::"', '"2001:db8::1"', '"::ffff:192.0.2.1"'),
        {'"1::2::3"': "format", '"12345::"': "format", '"fe80::1%eth0"': "format"},
    ),
    "integer": Case(
        field("integer"),
        ("0", "-0", "-1", str(2**64 + 1), "9" * 4_300, "null"),
        {"1.0": "type", "1e3": "type", "1.5": "type", '"1"': "type", "true": "type", "[1]": "type"},
        beyond=("1.0", "1e3", "9" * 4_300),  # JSON Schema calls 1.0 an integer; json.loads is asked for no more digits
    ),
    "integer bounds": Case(
        field("integer", minimum=-5, maximum=10),
        ("-5", "10"),
        {"-6": "minimum", "11": "maximum", "9" * 400: "maximum", "1" + "0" * 30: "maximum"},
    ),
    "exclusive integer bounds, and fractions of them": Case(
        field("integer", exclusiveMinimum=0, maximum=2.5), ("1", "2"), {"0": "minimum", "3": "maximum"}
    ),
    "integer bounds beyond 64 bits": Case(
        field("integer", minimum=2**70, exclusiveMaximum=2**70 + 3),
        (str(2**70), str(2**70 + 2)),
        {str(2**70 - 1): "minimum", str(2**70 + 3): "maximum"},
    ),
    "integer multiples": Case(field("integer", multipleOf=5), ("0", "-10", "15"), {"3": "multipleOf"}),
    "integer width": Case(field("integer", format="u8"), ("0", "255"), {"-1": "minimum", "256": "maximum"}),
    "signed integer width": Case(
        field("integer", format="i64"),
        (str(-(2**63)), str(2**63 - 1)),
        {str(2**63): "maximum", str(-(2**63) - 1): "minimum"},
    ),
    "integer enum": Case(
        field("integer", enum=values(1, 2)),
        ("1", "2", "null"),
        {"3": "enum", "true": "type", "1.0": "type", '"1"': "type"},
        beyond=("1.0",),
    ),
    "number": Case(
        field("number"),
        ("0", "1", "-1.5", "1e3", "0.1", "1E-5", str(2**64 + 1), "1e308", "null"),
        {'"1"': "type", "true": "type", "[]": "type", "1e400": "finite", "9" * 400: "finite"},
        beyond=("1e400", "9" * 400),
    ),
    "number bounds": Case(
        field("number", minimum=0.1, maximum=100),
        ("0.1", "0.10", "100", "100.0", "1e2", "1e1", "0.1000000000000000000001"),
        {
            "0.09": "minimum",
            "0.0999999999999999999999": "minimum",
            "100.00000000000000000001": "maximum",
            "101": "maximum",
        },
        beyond=("0.0999999999999999999999", "100.00000000000000000001"),  # json.loads rounds them to the bound
    ),
    "exclusive number bounds": Case(
        field("number", exclusiveMinimum=0, exclusiveMaximum=1),
        ("0.5", "1e-400", "0.99999999999999999999999"),
        {"0": "exclusiveMinimum", "-0.0": "exclusiveMinimum", "1": "exclusiveMaximum", "1.0": "exclusiveMaximum"},
        beyond=("1e-400", "0.99999999999999999999999"),
    ),
    "number bounds beyond a double's integers": Case(
        field("number", maximum=2**53),
        (str(2**53), "-1"),
        {str(2**53 + 1): "maximum"},
    ),
    "a zero below every exponent": Case(
        field("number", minimum=0),
        ("0", "-0.0", "0e-99999999999999999999", "1e-99999999999999999999"),
        {"-1e-400": "minimum", "-1e-99999999999999999999": "minimum"},
        beyond=("-1e-400", "-1e-99999999999999999999"),
    ),
    "boolean": Case(
        field("boolean"), ("true", "false", "null"), {"0": "type", "1": "type", '"true"': "type", '""': "type"}
    ),
    "object": Case(
        field("object", properties=[SKU]),
        ('{"sku": "a"}', '{"sku": "a", "more": [1]}', "null"),
        {"{}": "required", '{"sku": null}': "required", '{"sku": 1}': "type", "[]": "type", '"a"': "type"},
    ),
    "closed object": Case(
        field("object", properties=[SKU], customProperties=CLOSED),
        ('{"sku": "a"}',),
        {'{"sku": "a", "more": 1}': "additional"},
    ),
    "array": Case(
        field("array", items={"logicalType": "integer"}),
        ("[]", "[1, 2]", "[null]", "null"),
        {'["a"]': "type", "[1, 1.5]": "type", "{}": "type", "1": "type", '"ab"': "type"},
    ),
    "array of required elements": Case(
        field("array", items={"logicalType": "integer", "required": True}), ("[]", "[1]"), {"[1, null]": "required"}
    ),
    "array sizes": Case(
        field("array", items={"logicalType": "integer"}, minItems=1, maxItems=2),
        ("[1]", "[1, 2]"),
        {"[]": "minItems", "[1, 2, 3]": "maxItems"},
    ),
    "unique elements": Case(
        field("array", items={"logicalType": "string"}, uniqueItems=True),
        ('["a", "b"]', "[]", '["a", null]'),
        {'["a", "b", "a"]': "uniqueItems", "[null, null]": "uniqueItems"},
    ),
    "arrays of arrays of objects": Case(
        field("array", items={"logicalType": "array", "items": {"logicalType": "object", "properties": [SKU]}}),
        ("[]", "[[]]", '[[{"sku": "a"}, null], null]'),
        {'[[{"sku": 1}]]': "type", "[[1]]": "type", "[1]": "type"},
    ),
}


def good() -> Iterator[Any]:
    for name, case in CASES.items():
        for text in case.good:
            yield pytest.param(name, text, id=f"{name}: {text[:40]}")


def bad() -> Iterator[Any]:
    for name, case in CASES.items():
        for text, rule in case.bad.items():
            yield pytest.param(name, text, rule, id=f"{name}: {text[:40]}")


CONTRACTS: dict[str, Contract] = {name: contract_of(case.of) for name, case in CASES.items()}


def payload(text: str) -> bytes:
    return f'{{"id": "a", "x": {text}}}'.encode()


def judged_by_json_schema(contract: Contract, document: bytes) -> bool:
    validator = Draft202012Validator(contract.json_schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return validator.is_valid(json.loads(document))


@pytest.mark.parametrize(("name", "text"), list(good()))
def test_a_value_within_the_rules_is_valid_to_the_parser_and_the_json_schema(name: str, text: str) -> None:
    assert "x" in CONTRACTS[name].parse(payload(text))
    assert text in CASES[name].beyond or judged_by_json_schema(CONTRACTS[name], payload(text))


@pytest.mark.parametrize(("name", "text", "rule"), list(bad()))
def test_a_value_outside_the_rules_is_refused_by_the_one_it_breaks(name: str, text: str, rule: str) -> None:
    with pytest.raises(ContractViolation) as caught:
        CONTRACTS[name].parse(payload(text))
    (error,) = caught.value.errors
    assert error.rule == rule
    assert error.pointer.startswith("/x")
    assert text in CASES[name].beyond or not judged_by_json_schema(CONTRACTS[name], payload(text))


@pytest.mark.parametrize("name", CASES)
def test_the_json_schema_is_one_and_the_example_is_valid_to_both(name: str) -> None:
    contract = CONTRACTS[name]
    Draft202012Validator.check_schema(contract.json_schema)
    document = json.dumps(contract.example).encode()
    assert contract.parse(document) == contract.example
    assert judged_by_json_schema(contract, document)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "text",
    [
        '"canary"',
        '["canary"]',
        '[["canary"]]',
        '{"canary": "canary"}',
        '{"sku": ["canary"], "canary": {"canary": 1}}',
        "[" + '{"sku": {"canary": 77177}},' * 30 + "77177]",
        "77177" * 80,
        "-77177.77177e300",
        '"77177-77-17T77:17:77Z"',
        '"canary',
        '{"canary": NaN}',
        '"\\ud800 canary"',
    ],
)
def test_no_error_repeats_anything_of_the_payload(name: str, text: str) -> None:
    if accepts(CONTRACTS[name], text):
        return
    violation = refused(CONTRACTS[name], payload(text))
    told = str(violation) + repr(violation) + repr(violation.errors) + repr(violation.args)
    assert "canary" not in told
    assert "77177" not in told
    assert violation.__context__ is None


def test_errors_point_into_arrays_and_escape_names() -> None:
    odd = {"name": "a/b~c", "logicalType": "array", "items": {"logicalType": "object", "properties": [SKU]}}
    (error,) = refused(contract_of(odd), b'{"id": "a", "a/b~c": [{"sku": "a"}, {"sku": 1}]}').errors
    assert (error.pointer, error.rule, error.expected) == ("/a~1b~0c/1/sku", "type", "must be a string")


def test_every_broken_field_is_reported_in_the_contracts_order() -> None:
    contract = contract_of(field("integer", required=True), {"name": "y", "logicalType": "boolean"})
    errors = refused(contract, b'{"y": 1, "x": "a"}').errors
    assert [(error.pointer, error.rule) for error in errors] == [("/id", "required"), ("/x", "type"), ("/y", "type")]


def test_unknown_fields_of_a_closed_contract_are_counted_not_named() -> None:
    contract = contract_of(field("object", properties=[SKU]), customProperties=CLOSED)
    violation = refused(contract, b'{"id": "a", "canary": 1, "canary2": 2, "x": {"sku": "a", "canary3": 3}}')
    assert {(error.pointer, error.rule, error.expected) for error in violation.errors} == {
        ("", "additional", "must have no fields the contract does not know, has 2"),
        ("/x", "additional", "must have no fields the contract does not know, has 1"),
    }
    assert contract.json_schema["additionalProperties"] is False


def test_an_object_may_open_what_surrounds_it_closes() -> None:
    opened = field("object", properties=[SKU], customProperties=[{"property": "additionalProperties", "value": True}])
    contract = contract_of(opened, customProperties=CLOSED)
    assert contract.parse(b'{"id": "a", "x": {"sku": "a", "more": 1}}')


def test_a_flood_of_errors_is_cut_to_what_a_header_can_carry() -> None:
    many = [{"name": f"x{n}", "logicalType": "integer", "required": True} for n in range(100)]
    assert len(refused(contract_of(*many), b"{}").errors) == 20


def test_expected_says_the_contracts_own_words() -> None:
    contract = contract_of(
        field("number", exclusiveMinimum=0.5), {"name": "y", "logicalType": "string", "enum": values("a", "b")}
    )
    errors = refused(contract, b'{"id": "a", "x": 0.5, "y": "c"}').errors
    assert [error.expected for error in errors] == ["must be 'a' or 'b'"]
    (error,) = refused(contract, b'{"id": "a", "x": 0.5}').errors
    assert error.expected == "must be > 0.5"


def refused(contract: Contract, document: bytes) -> ContractViolation:
    with pytest.raises(ContractViolation) as caught:
        contract.parse(document)
    return caught.value


LOW, HIGH = Decimal("0.1"), Decimal("100.25")
BOUNDED = contract_of(field("number", minimum=float(LOW), exclusiveMaximum=float(HIGH)))


@settings(deadline=None)
@given(st.sampled_from([LOW, HIGH]), st.integers(-9, 9), st.integers(1, 60))
def test_bounds_are_judged_on_the_payloads_own_digits(edge: Decimal, step: int, places: int) -> None:
    value = (
        edge + Decimal(step) * Decimal(10) ** -places if places < 26 else Decimal(f"{edge}{'0' * places}{abs(step)}")
    )
    assert accepts(BOUNDED, str(value)) == (LOW <= value < HIGH)


@settings(deadline=None)
@given(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32))
def test_a_date_is_valid_just_when_the_calendar_has_it(year: int, month: int, day: int) -> None:
    try:
        date(year, month, day)
    except ValueError:
        there = False
    else:
        there = True
    text = f"{year:04}-{month:02}-{day:02}"
    assert accepts(CONTRACTS["date"], f'"{text}"') == there
    assert accepts(CONTRACTS["timestamp"], f'"{text}T00:00:00Z"') == there


@settings(deadline=None)
@given(st.ip_addresses(v=6).map(str) | st.text("0123456789af:.", max_size=40) | st.text("1:", max_size=20))
def test_an_ipv6_address_is_what_the_standard_library_says(text: str) -> None:
    try:
        IPv6Address(text)
    except AddressValueError:
        there = False
    else:
        there = True
    assert accepts(CONTRACTS["ipv6"], json.dumps(text)) == there


def accepts(contract: Contract, text: str) -> bool:
    try:
        contract.parse(payload(text))
    except ContractViolation:
        return False
    return True


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (field("string", minLength=99_999_999_999), "property x: minLength"),
        (field("string", minLength=10**22), "property x: minLength"),
        (field("string", maxLength=10**22), "property x: maxLength"),
        (field("array", minItems=99_999_999_999, items={"logicalType": "integer"}), "property x: minItems"),
        (
            field(
                "array",
                minItems=10_000,
                items={"logicalType": "array", "logicalTypeOptions": {"minItems": 10_000}, "items": SKU},
            ),
            "property x: minItems",
        ),
    ],
)
def test_a_size_that_no_event_could_have_is_refused_by_name(of: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractInvalid, match=says):
        contract_of(of)


def test_a_large_maximum_is_a_maximum() -> None:
    assert contract_of(field("string", maxLength=4_294_967_295)).parse(payload('"a"'))
