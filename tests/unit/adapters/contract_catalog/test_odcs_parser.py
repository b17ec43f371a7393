"""The shipped contracts' parsers, whatever the bytes: a document or a `ContractViolation`, and no echo."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.contracts.contract_catalog import HOSTILE
from tests.unit.adapters.contract_catalog.odcs_files import contract_of, field

from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.domain.errors import ContractViolation
from streamlake.domain.model.contracts import Contract

SHIPPED = OdcsContractCatalog(Path(__file__).parents[4] / "contracts")
ORDERS, FLIGHTS = SHIPPED.newest("orders"), SHIPPED.newest("flights")
SMALLEST = {"order_id": "o-1", "customer_id": "c-1", "amount": 12.5, "event_time": "2026-01-31T09:30:00Z"}


def judge(contract: Contract, payload: bytes) -> Mapping[str, object] | None:
    """The document, None for a violation; anything else is the test's failure."""
    try:
        return contract.parse(payload)
    except ContractViolation as violation:
        assert violation.errors  # noqa: PT017 - both outcomes are fine, an empty refusal is not
        assert violation.__context__ is None  # noqa: PT017
        return None


def strictly(payload: bytes) -> tuple[Any, bool]:
    """What the standard library reads, and whether all of it is JSON (NaN and Infinity are not)."""
    words: list[str] = []
    return json.loads(payload.decode(), parse_constant=words.append), not words


def test_an_order_of_the_four_required_fields_is_valid() -> None:
    assert ORDERS.parse(json.dumps(SMALLEST).encode()) == SMALLEST


@pytest.mark.parametrize("missing", SMALLEST)
def test_an_order_without_one_of_them_is_not(missing: str) -> None:
    order = {name: value for name, value in SMALLEST.items() if name != missing}
    with pytest.raises(ContractViolation, match=f"orders.v1: /{missing}: is required"):
        ORDERS.parse(json.dumps(order).encode())


@pytest.mark.parametrize("contract", [ORDERS, FLIGHTS], ids=lambda contract: contract.name)
def test_the_shipped_examples_are_valid_to_parser_and_json_schema_and_show_every_field(contract: Contract) -> None:
    validator = Draft202012Validator(contract.json_schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(contract.example)
    assert contract.parse(json.dumps(contract.example).encode()) == contract.example
    assert set(contract.example) == set(contract.json_schema["properties"])  # type: ignore[call-overload]


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_spliced_into_a_valid_order_are_refused(payload: bytes) -> None:
    whole = json.dumps(SMALLEST).encode()
    assert judge(ORDERS, whole[:-1] + b', "z": ' + payload[:-1] + b"}") is None
    assert judge(ORDERS, payload) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_judged_without_another_exception(payload: bytes) -> None:
    assert judge(ORDERS, payload) is None


FRAGMENTS = (
    *(b"NaN", b"-Infinity", b"Infinity", b'"NaN"', b"[" * 300, b"{", b"}", b"]", b'"', b",", b":", b"\\", b"\\ud800"),
    *(b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"\x00", b"\n", b"9" * 4301, b"-", b"e", b"E+", b".", b"0", b"1e400"),
    *(b"-1e-400", b"1e-99999999999999999999", b"null", b"true", b'"amount":', b'"z":', b"100000000.00000000000001"),
)


@st.composite
def mutated_orders(draw: st.DrawFn) -> bytes:
    payload = json.dumps(ORDERS.example).encode()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(payload)))
        until = at + draw(st.sampled_from([0, 0, 0, 1, 2, 5, 20]))
        payload = payload[:at] + draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=3)) + payload[until:]
    return payload


@settings(max_examples=1_000, deadline=None)
@given(mutated_orders())
def test_a_mutated_order_is_refused_or_is_json_to_everyone(payload: bytes) -> None:
    document = judge(ORDERS, payload)
    if document is not None:
        read, all_json = strictly(payload)
        assert all_json
        assert read.keys() == document.keys()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(list(SMALLEST.values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*ORDERS.example, "z"]), json_values))
def test_documents_of_any_values_are_judged_as_json_schema_judges_them(changes: dict[str, Any]) -> None:
    document = SMALLEST | changes
    payload = json.dumps(document).encode()
    validator = Draft202012Validator(ORDERS.json_schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    valid = strictly(payload)[1] and validator.is_valid(document)
    assert (judge(ORDERS, payload) is not None) == valid


@pytest.mark.parametrize("x", [b"NaN", b"-Infinity", b'["NaN", NaN]'])
def test_a_document_with_NaN_is_not_json_wherever_it_is(x: bytes) -> None:  # noqa: N802
    for contract in (contract_of(field("number")), contract_of(field("string")), contract_of()):
        with pytest.raises(ContractViolation) as caught:
            contract.parse(b'{"id": "a", "x": ' + x + b"}")
        (error,) = caught.value.errors
        assert (error.pointer, error.rule) == ("", "json")


def test_the_digits_of_an_integer_do_not_depend_on_the_interpreters_limit() -> None:
    contract = contract_of(field("number", minimum=0))
    payload = b'{"id": "NaN", "x": 0, "z": ' + b"9" * 4_000 + b"}"
    with digits_limited_to(1_000):
        assert contract.parse(payload)["x"] == 0


@contextmanager
def digits_limited_to(digits: int) -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(digits)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
