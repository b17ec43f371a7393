"""The folder of ODCS files keeps every promise of the port, and refuses files it would have to guess about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contracts.contract_catalog import ContractCatalogContract
from tests.unit.adapters.contract_catalog.odcs_files import KEY, contract_of, document_of, field, text_of, values

from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog, load_contract
from streamlake.domain.errors import ContractInvalid
from streamlake.domain.ports.contract_catalog import ContractCatalog

DAY_MS = 86_400_000
COUNT = {"name": "count", "logicalType": "integer"}
AT = {"name": "at", "logicalType": "string"}


def write(folder: Path, dataset: str, major: int) -> None:
    document = document_of(COUNT, AT) | {"version": f"{major}.0.0"}
    document["schema"][0]["name"] = dataset
    (folder / f"{dataset}.v{major}.odcs.yaml").write_text(yaml.safe_dump(document))


class TestOdcsContractCatalog(ContractCatalogContract):
    @pytest.fixture
    def catalog(self, tmp_path: Path) -> ContractCatalog:
        for dataset, major in (("orders", 1), ("orders", 2), ("orders", 10), ("clicks", 1)):
            write(tmp_path, dataset, major)
        return OdcsContractCatalog(tmp_path)


class TestTheFolder:
    def test_other_files_and_hidden_ones_are_left_alone(self, tmp_path: Path) -> None:
        write(tmp_path, "orders", 1)
        (tmp_path / "README.md").write_text("contracts live here")
        (tmp_path / "..data.yaml").write_text("a mount's own business")
        assert OdcsContractCatalog(tmp_path).datasets() == ("orders",)

    @pytest.mark.parametrize(
        "name",
        ["orders.yaml", "orders.v1.odcs.yml", "orders.v0.odcs.yaml", "orders.1.odcs.yaml", "or_ders.v1.odcs.yaml"],
    )
    def test_a_yaml_file_of_another_name_is_refused_not_overlooked(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, "orders", 1)
        (tmp_path / name).write_text("{}")
        with pytest.raises(ContractInvalid, match=r"is named <dataset>\.v<major>\.odcs\.yaml"):
            OdcsContractCatalog(tmp_path)

    def test_an_empty_or_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ContractInvalid, match="there is no contract"):
            OdcsContractCatalog(tmp_path)
        with pytest.raises(ContractInvalid, match="cannot be read"):
            OdcsContractCatalog(tmp_path / "nowhere")

    def test_a_file_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "orders.v1.odcs.yaml").mkdir()
        with pytest.raises(ContractInvalid, match="cannot be read"):
            OdcsContractCatalog(tmp_path)


class TestTheFile:
    def test_the_checksum_is_of_the_files_bytes(self) -> None:
        content = text_of()
        assert load_contract("things.v1.odcs.yaml", content).sha256 == hashlib.sha256(content).hexdigest()

    def test_without_custom_properties_the_defaults_hold(self) -> None:
        contract = contract_of()
        assert (contract.partitions, contract.part_format) == (6, None)
        assert (contract.raw_retention_ms, contract.dlq_retention_ms) == (30 * DAY_MS, -1)

    def test_custom_properties_set_partitions_format_and_retention(self) -> None:
        contract = contract_of(
            customProperties=custom(partitions=12, partFormat="parquet", rawRetentionDays=60, dlqRetentionDays=67)
        )
        assert (contract.partitions, contract.part_format) == (12, "parquet")
        assert (contract.raw_retention_ms, contract.dlq_retention_ms) == (60 * DAY_MS, 67 * DAY_MS)

    def test_custom_properties_of_others_are_left_alone(self) -> None:
        theirs = [*custom(costCentre=4711), {"property": "partitions", "value": "many", "vendor": "confluent"}]
        assert contract_of(customProperties=theirs).partitions == 6

    @pytest.mark.parametrize(
        ("properties", "says"),
        [
            ({"partitions": 0}, "partitions: must be an integer >= 1, is 0"),
            ({"partitions": True}, "partitions: must be an integer >= 1"),
            ({"partitions": "6"}, "partitions: must be an integer >= 1"),
            ({"partFormat": "avro"}, "partFormat: must be one of json, json.gz, parquet, is 'avro'"),
            ({"rawRetentionDays": 0}, "rawRetentionDays: must be -1 or 1 to 36500 days"),
            ({"rawRetentionDays": 1.5}, "rawRetentionDays: must be -1 or 1 to 36500 days"),
            ({"dlqRetentionDays": 36}, r"dlqRetentionDays: must be -1 or at least rawRetentionDays \+ 7"),
            ({"rawRetentionDays": -1, "dlqRetentionDays": 900}, "dlqRetentionDays: must be -1"),
            ({"additionalProperties": "no"}, "additionalProperties: must be true or false"),
            ({"partFormats": "json"}, "partFormats: is not known, did you mean partFormat?"),
            ({"part_format": "json"}, "part_format: is not known, did you mean partFormat?"),
            ({"rawRetentionDay": 3}, "did you mean rawRetentionDays?"),
            ({"additionalproperties": False}, "did you mean additionalProperties?"),
        ],
    )
    def test_a_custom_property_that_cannot_work_is_refused(self, properties: dict[str, object], says: str) -> None:
        with pytest.raises(ContractInvalid, match=f"things.v1.odcs.yaml: customProperties: .*{says}"):
            contract_of(customProperties=custom(**properties))

    def test_a_custom_property_twice_or_where_it_means_nothing_is_refused(self) -> None:
        with pytest.raises(ContractInvalid, match="partitions: is there twice"):
            contract_of(customProperties=[*custom(partitions=1), *custom(partitions=2)])
        with pytest.raises(ContractInvalid, match="property x: customProperties: partitions: does not belong here"):
            contract_of(field("string", customProperties=custom(partitions=1)))
        with pytest.raises(
            ContractInvalid, match="property x: customProperties: additionalProperties: does not belong"
        ):
            contract_of(field("integer", customProperties=custom(additionalProperties=False)))

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"version": "2.0.0"}, r"version: must be 1\.x\.y like the file, is '2\.0\.0'"),
            ({"version": "one"}, r"version: must be 1\.x\.y like the file"),
            ({"apiVersion": "v2.2.2"}, "apiVersion: must be a v3"),
            ({"apiVersion": "v3.9.0"}, "apiVersion: 'v3.9.0' is not one of"),
            ({"kind": "Contract"}, "kind: 'Contract' is not one of"),
            ({"schema": []}, "schema: there must be exactly one object, there are 0"),
            ({"schema": [{"name": "other", "properties": [KEY]}]}, "name: must be 'things' like the file, is 'other'"),
            ({"schema": [{"name": "things"}]}, "properties: there must be at least one"),
            ({"custumProperties": []}, "'custumProperties' was unexpected"),
        ],
    )
    def test_a_file_that_contradicts_its_name_or_the_standard_is_refused(
        self, changes: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ContractInvalid, match=f"things.v1.odcs.yaml: .*{says}"):
            contract_of(**changes)

    def test_two_schema_objects_are_refused(self) -> None:
        schema = document_of()["schema"]
        with pytest.raises(ContractInvalid, match="exactly one object, there are 2"):
            contract_of(schema=[*schema, {"name": "more", "properties": [KEY]}])

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "must be a YAML mapping"),
            (b"- a list", "must be a YAML mapping"),
            (b"kind: [", "not readable as YAML"),
            (b"\xff", "not readable as YAML"),
            (b"[" * 5_000, "not readable as YAML"),
            (b"!!python/object/apply:os.getcwd []", "not readable as YAML"),
            (b"kind: DataContract\nkind: DataContract", "the key 'kind' is there twice"),
            (b"price: 0.10000000000000000001", "has more digits than a double carries"),
        ],
    )
    def test_what_is_no_clear_yaml_is_refused(self, content: bytes, says: str) -> None:
        with pytest.raises(ContractInvalid, match=says):
            load_contract("things.v1.odcs.yaml", content)

    @pytest.mark.parametrize(
        ("misspelt", "says"),
        [
            ({"name": "x", "logicalTyp": "string"}, "logicalTyp"),
            ({"name": "x", "logicalType": "banana"}, "'banana' is not one of"),
            ({"name": "x", "logicalType": "string", "requird": True}, "'requird' was unexpected"),
            (
                {"name": "x", "logicalType": "string", "logicalTypeOptions": {"maxLenght": 3}},
                "'maxLenght' was unexpected",
            ),
            (
                {"name": "x", "logicalType": "integer", "logicalTypeOptions": {"maxLength": 3}},
                "'maxLength' was unexpected",
            ),
            ({"name": "x", "logicalType": "string", "enum": ["a"]}, "'a' is not of type 'object'"),
            ({"name": "x"}, "'logicalType' is missing"),
            ({"logicalType": "string"}, "'name' is a required property"),
        ],
    )
    def test_a_misspelt_property_is_refused_by_the_standard(self, misspelt: dict[str, Any], says: str) -> None:
        with pytest.raises(ContractInvalid, match=f"things.v1.odcs.yaml: not valid ODCS: .*{says}"):
            contract_of(misspelt)

    @pytest.mark.parametrize(
        ("unsupported", "says"),
        [
            (field("map", enum=values("a")) | {"map": {"key": KEY, "value": KEY}}, "map is not supported"),
            (field("vector", dimensions=3), "vector is not supported"),
            (field("string", format="password"), "format: must be one of .*, is 'password'"),
            (field("date", format="dd.MM.yyyy"), "format: is not supported on date"),
            (field("timestamp", defaultTimezone="Etc/UTC"), "defaultTimezone: is not supported on timestamp"),
            (field("timestamp", minimum="yesterday"), "minimum: must be a date-time in quotes, is 'yesterday'"),
            (field("timestamp", minimum="2026-01-01T00:00:00"), "minimum: must be a date-time in quotes"),
            (field("number", multipleOf=0.01), "multipleOf: is not supported on number"),
            (field("number", format="f32"), "format: must be one of f64, is 'f32'"),
            (field("number", minimum=float("inf")), "minimum: must be within a double's range"),
            (field("number", enum=values(1.5)), "enum: is not supported on number"),
            (field("integer", multipleOf=0.5), "multipleOf: must be an integer, is 0.5"),
            (field("integer", enum=values(True)), "enum: every value must be an integer, True is not"),
            (field("string", enum=values("YES", False)), "enum: every value must be a string, False is not"),
            (field("string", enum=values("a", None)), "enum: every value must be a string, None is not"),
            (field("boolean", minimum=1), "minimum: is not supported on boolean"),
            (field("boolean", enum=values(True)), "enum: is not supported on boolean"),
            (field("object", properties=[AT], maxProperties=3), "maxProperties: is not supported on object"),
            (
                field("object", properties=[AT], required_=1) | {"logicalTypeOptions": {"required": ["at"]}},
                "required: is",
            ),
            (field("object"), "properties: there must be at least one"),
            (field("object", properties=[AT, AT]), "names must be unique and not empty, 'at' is not"),
            (field("array"), "items: an array must say what its elements are"),
            (field("array", items={"logicalType": "number"}, uniqueItems=True), "uniqueItems: works on strings"),
            (field("string", pattern="(?=a)a"), "pattern: not a regular expression of linear time"),
            (field("string", pattern=r"(a)\1"), "pattern: not a regular expression of linear time"),
            (field("string", pattern="(a"), "pattern: not a portable regular expression"),
            (field("string", pattern="a)|(?:b"), "pattern: not a portable regular expression"),
            (field("string", pattern="(?i)a"), "pattern: not a portable regular expression"),
            (field("string", pattern="[a&&b]"), "pattern: not a portable regular expression"),
            (field("string", pattern=r"[\D]"), r"pattern: .*inside a character class is not portable"),
        ],
    )
    def test_what_streamlake_does_not_have_is_refused_by_file_property_and_option(
        self, unsupported: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ContractInvalid, match=f"things.v1.odcs.yaml: property x(: .*)?{says}"):
            contract_of(unsupported)

    def test_a_nested_property_is_named_by_its_path(self) -> None:
        inner = field("object", properties=[field("number", multipleOf=2)])
        with pytest.raises(ContractInvalid, match=r"property x\[\]\.x: multipleOf"):
            contract_of(field("array", items={k: v for k, v in inner.items() if k != "name"}))

    @pytest.mark.parametrize(
        ("key", "says"),
        [
            ({**KEY, "primaryKey": False}, "exactly one top-level property must be the key, 0 are"),
            ({**KEY, "required": False}, "property id: primaryKey: must be a required string or integer"),
            ({**KEY, "logicalType": "number"}, "property id: primaryKey: must be a required string or integer"),
            ({**KEY, "logicalType": "boolean"}, "property id: primaryKey: must be a required string or integer"),
        ],
    )
    def test_the_key_is_one_required_string_or_integer(self, key: dict[str, Any], says: str) -> None:
        with pytest.raises(ContractInvalid, match=says):
            contract_of(key=key)

    def test_a_second_or_a_nested_key_is_refused(self) -> None:
        with pytest.raises(ContractInvalid, match="exactly one top-level property must be the key, 2 are"):
            contract_of(field("string", required=True, primaryKey=True))
        with pytest.raises(ContractInvalid, match=r"property x\.id: primaryKey: the key must be a top-level property"):
            contract_of(field("object", properties=[KEY]))

    def test_an_integer_key_is_its_digits(self) -> None:
        contract = contract_of(key={**KEY, "logicalType": "integer"})
        assert contract.key == "id"
        assert contract.record_key(contract.parse(b'{"id": 18446744073709551617}')) == b"18446744073709551617"


class TestTheExample:
    def test_it_is_made_of_the_contracts_examples(self) -> None:
        key = {**KEY, "examples": ["a-1", "a-2"]}
        assert contract_of(field("date", examples=["2026-02-03"]), key=key).example == {"id": "a-1", "x": "2026-02-03"}

    def test_an_example_the_contract_itself_refuses_is_refused(self) -> None:
        with pytest.raises(ContractInvalid, match="examples: /x: must be <= 3"):
            contract_of(field("integer", maximum=3, examples=[4]))

    def test_a_required_pattern_asks_for_an_example_an_optional_one_is_left_out(self) -> None:
        with pytest.raises(ContractInvalid, match="examples: /x: is required; give the property a valid one"):
            contract_of(field("string", pattern="[a-z]{3}-[0-9]", required=True))
        assert "x" not in contract_of(field("string", pattern="[a-z]{3}-[0-9]")).example

    def test_bounds_that_leave_nothing_are_refused(self) -> None:
        with pytest.raises(ContractInvalid, match="examples: /x"):
            contract_of(field("integer", minimum=3, maximum=2, required=True))


def custom(**properties: object) -> list[dict[str, object]]:
    return [{"property": name, "value": value} for name, value in properties.items()]
