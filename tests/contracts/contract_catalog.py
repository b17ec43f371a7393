"""What every contract catalog promises: subclass `ContractCatalogContract` and supply the fixture `catalog`.

The catalog under test holds `orders` in majors 1, 2 and 10 and `clicks` in major 1. Their documents have the key `id`
(a string, required), `count` (an integer) and `at` (a string), and may hold unknown fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from streamlake.domain.errors import ContractViolation, UnknownDataset
from streamlake.domain.model.contracts import Contract
from streamlake.domain.ports.contract_catalog import ContractCatalog

HOSTILE: Mapping[str, bytes] = {
    "nothing": b"",
    "white space": b" \n\t",
    "cut short": b'{"id": "a"',
    "trailing data": b'{"id": "a"} {}',
    "trailing comma": b'{"id": "a",}',
    "single quotes": b"{'id': 'a'}",
    "a comment": b'{"id": "a"} // why not',
    "a byte order mark": b'\xef\xbb\xbf{"id": "a"}',
    "UTF-16": '{"id": "a"}'.encode("utf-16"),
    "UTF-32": '{"id": "a"}'.encode("utf-32"),
    "invalid UTF-8": b'{"id": "\xff\xfe"}',
    "an encoded surrogate": b'{"id": "\xed\xa0\x80"}',
    "overlong UTF-8": b'{"id": "\xc0\xaf"}',
    "a lone surrogate": b'{"id": "\\ud800"}',
    "a lone surrogate in a name": b'{"id": "a", "\\udc00": 1}',
    "a raw control character": b'{"id": "a\x00b"}',
    "a raw newline in a string": b'{"id": "a\nb"}',
    "a bad escape": b'{"id": "\\x41"}',
    "an integer of 5,000 digits": b'{"id": "a", "count": ' + b"9" * 5_000 + b"}",
    "an unknown integer of 5,000 digits": b'{"id": "a", "z": ' + b"9" * 5_000 + b"}",
    "a leading zero": b'{"id": "a", "count": 01}',
    "a leading plus": b'{"id": "a", "count": +1}',
    "a bare point": b'{"id": "a", "z": 1.}',
    "100,000 open arrays": b"[" * 100_000,
    "100,000 open objects": b'{"a":' * 100_000,
    "a deep unknown field": b'{"id": "a", "z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an array": b'[{"id": "a"}]',
    "a string": b'"id"',
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"id": "a", "count": NaN}',
    "an unknown NaN": b'{"id": "a", "z": NaN}',
    "an unknown Infinity": b'{"id": "a", "z": Infinity}',
    "an unknown -Infinity, deep": b'{"id": "a", "z": [{"y": [-Infinity]}]}',
    "a document that is NaN": b"NaN",
    "an unknown NaN beside the text of one": b'{"id": "NaN", "z": NaN}',
}


class ContractCatalogContract:
    """Looking contracts up, and what every contract's parser does with strangers' bytes."""

    def test_datasets_are_in_ascending_order(self, catalog: ContractCatalog) -> None:
        assert list(catalog.datasets()) == ["clicks", "orders"]

    def test_versions_are_ordered_as_numbers_oldest_first(self, catalog: ContractCatalog) -> None:
        assert [contract.version for contract in catalog.versions("orders")] == ["v1", "v2", "v10"]

    def test_the_newest_is_the_highest_major(self, catalog: ContractCatalog) -> None:
        assert catalog.newest("orders").name == "orders.v10"

    def test_a_version_is_found_by_what_the_record_header_says(self, catalog: ContractCatalog) -> None:
        found = catalog.find("orders", "v2")
        assert found is not None
        assert (found.dataset, found.major) == ("orders", 2)

    @pytest.mark.parametrize("version", ["v3", "2", "V2", "v02", "v2.0", "", "v²"])
    def test_a_version_there_is_none_of_is_none(self, catalog: ContractCatalog, version: str) -> None:
        assert catalog.find("orders", version) is None

    def test_an_unknown_dataset_is_said_to_be_one_by_every_lookup(self, catalog: ContractCatalog) -> None:
        with pytest.raises(UnknownDataset, match="nobody"):
            catalog.versions("nobody")
        with pytest.raises(UnknownDataset, match="nobody"):
            catalog.newest("nobody")
        with pytest.raises(UnknownDataset, match="nobody"):
            catalog.find("nobody", "v1")

    def test_every_contract_has_a_checksum_of_its_own(self, catalog: ContractCatalog) -> None:
        sums = [contract.sha256 for dataset in catalog.datasets() for contract in catalog.versions(dataset)]
        assert len(set(sums)) == len(sums)
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in sums)

    def test_the_example_is_valid_and_has_a_key(self, catalog: ContractCatalog) -> None:
        contract = catalog.newest("orders")
        assert contract.record_key(contract.parse(json.dumps(contract.example).encode()))

    def test_the_json_schema_is_json(self, catalog: ContractCatalog) -> None:
        schema = catalog.newest("orders").json_schema
        assert json.loads(json.dumps(schema)) == schema

    def test_a_valid_document_is_returned_with_its_unknown_fields(self, catalog: ContractCatalog) -> None:
        document = parse(catalog, b'{"id": "a", "count": 3, "z": {"y": [1, null, true]}}')
        assert document == {"id": "a", "count": 3, "z": {"y": [1, None, True]}}

    def test_an_optional_field_may_be_absent_or_null(self, catalog: ContractCatalog) -> None:
        assert parse(catalog, b'{"id": "a"}') == {"id": "a"}
        assert parse(catalog, b'{"id": "a", "count": null}') == {"id": "a", "count": None}

    def test_a_required_field_must_be_there_and_not_null(self, catalog: ContractCatalog) -> None:
        for payload in (b"{}", b'{"id": null}'):
            (error,) = refusal(catalog, payload).errors
            assert (error.pointer, error.rule) == ("/id", "required")

    def test_of_duplicate_names_the_last_wins(self, catalog: ContractCatalog) -> None:
        assert parse(catalog, b'{"id": 1, "id": "a", "z": 1, "z": 2}') == {"id": "a", "z": 2}
        assert refusal(catalog, b'{"id": "a", "id": 1}').errors[0].pointer == "/id"

    def test_the_words_NaN_and_Infinity_are_fine_in_strings_and_names(self, catalog: ContractCatalog) -> None:  # noqa: N802
        payload = b'{"id": "NaN", "at": "-Infinity", "NaN": ["Infinity, \\"NaN\\""], "z": 1e400}'
        assert parse(catalog, payload)["id"] == "NaN"

    def test_integers_keep_every_digit(self, catalog: ContractCatalog) -> None:
        assert parse(catalog, b'{"id": "a", "count": 18446744073709551617}')["count"] == 2**64 + 1

    @pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_bytes_are_a_violation_and_nothing_worse(self, catalog: ContractCatalog, payload: bytes) -> None:
        assert refusal(catalog, payload).errors

    def test_a_violation_names_the_contract_and_leaves_no_trace_of_the_payload(self, catalog: ContractCatalog) -> None:
        violation = refusal(catalog, b'{"id": ["canary"], "count": "canary", "canary": 1}')
        assert violation.contract == "orders.v10"
        assert "canary" not in str(violation) + repr(violation) + repr(violation.errors)
        assert violation.__cause__ is None
        assert violation.__context__ is None


def parse(catalog: ContractCatalog, payload: bytes) -> Mapping[str, object]:
    """The payload, judged by the newest contract of orders."""
    return catalog.newest("orders").parse(payload)


def refusal(catalog: ContractCatalog, payload: bytes) -> ContractViolation:
    """Why the newest contract of orders refuses the payload."""
    contract: Contract = catalog.newest("orders")
    with pytest.raises(ContractViolation) as caught:
        contract.parse(payload)
    return caught.value
