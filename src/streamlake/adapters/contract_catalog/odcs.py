"""Contracts from a folder of Open Data Contract Standard files, `<dataset>.v<major>.odcs.yaml`.

The file name says which dataset and which major it is; the one schema object's `name` and the `version` inside must
agree. Types and options: `odcs_properties`; StreamLake's customProperties: `odcs_custom`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject

from streamlake.adapters.contract_catalog.odcs_columns import columns
from streamlake.adapters.contract_catalog.odcs_custom import contract_settings
from streamlake.adapters.contract_catalog.odcs_fields import Integer, Record, Text
from streamlake.adapters.contract_catalog.odcs_file import read_odcs
from streamlake.adapters.contract_catalog.odcs_json_schema import example, json_schema
from streamlake.adapters.contract_catalog.odcs_parser import OdcsParser
from streamlake.adapters.contract_catalog.odcs_properties import read_record
from streamlake.adapters.contract_catalog.odcs_quality import named_apart, quality_rules
from streamlake.adapters.contract_catalog.odcs_service_levels import service_levels
from streamlake.domain.errors import ContractInvalid, ContractViolation, UnknownDataset
from streamlake.domain.model.contracts import DATASET_NAME, Contract
from streamlake.domain.ports.contract_catalog import ContractCatalog

FILE_NAME = re.compile(rf"(?P<dataset>{DATASET_NAME.pattern})\.v(?P<major>[1-9][0-9]{{0,8}})\.odcs\.yaml")
"""What a contract file is called."""
_VERSION = re.compile(r"v?(?P<major>[0-9]+)(?:\.[0-9]+){0,2}")


class OdcsContractCatalog(ContractCatalog):
    """The contracts of a folder, read once. Any other YAML file in it is refused rather than overlooked."""

    def __init__(self, folder: Path) -> None:
        self._contracts: dict[str, list[Contract]] = {}
        loaded = (load_contract(name, content) for name, content in read_folder(folder).items())
        for contract in sorted(loaded, key=lambda c: (c.dataset, c.major)):
            self._contracts.setdefault(contract.dataset, []).append(contract)

    def datasets(self) -> Sequence[str]:
        return tuple(self._contracts)

    def versions(self, dataset: str) -> Sequence[Contract]:
        try:
            return tuple(self._contracts[dataset])
        except KeyError:
            raise UnknownDataset(f"{dataset}: no such dataset; there are: {', '.join(self._contracts)}") from None

    def newest(self, dataset: str) -> Contract:
        return self.versions(dataset)[-1]

    def find(self, dataset: str, version: str) -> Contract | None:
        return next((found for found in self.versions(dataset) if found.version == version), None)


def read_folder(folder: Path) -> Mapping[str, bytes]:
    """What a catalog of this folder reads, by name: any YAML file, whatever its name. Raises `ContractInvalid`."""
    try:
        found = [path for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml") and path.name[0] != "."]
    except OSError as error:
        raise ContractInvalid(f"{folder}: the contracts folder cannot be read: {error.strerror}") from error
    if not found:
        raise ContractInvalid(f"{folder}: there is no contract; one is named <dataset>.v<major>.odcs.yaml")
    return {path.name: _content(path) for path in found}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractInvalid(f"{path}: cannot be read: {error.strerror}") from error


def load_contract(file: str, content: bytes) -> Contract:
    """The contract in a file's bytes; `file` is its name. Raises `ContractInvalid` naming file, place and rule."""
    named = FILE_NAME.fullmatch(file)
    if not named:
        raise ContractInvalid(f"{file}: a contract file is named <dataset>.v<major>.odcs.yaml")
    dataset, major = named["dataset"], int(named["major"])
    odcs = read_odcs(file, content)
    schema = _one_schema(file, odcs, dataset)
    _check_version(file, odcs, major)
    settings = contract_settings(file, odcs.customProperties)
    record = read_record(file, schema, closed=settings.closed)
    parse = OdcsParser(f"{dataset}.v{major}", record)
    description = _description(odcs, schema)
    typed = columns(record, schema.properties)
    return Contract(
        dataset=dataset,
        major=major,
        description=description,
        key=_key(file, schema, record),
        sha256=hashlib.sha256(content).hexdigest(),
        json_schema=json_schema(f"{dataset} v{major}", description, record),
        example=_checked_example(file, record, parse),
        parse=parse,
        columns=typed,
        quality=named_apart([*quality_rules(dataset, schema), *service_levels(dataset, odcs, typed)]),
        partitions=settings.partitions,
        part_format=settings.part_format,
        raw_retention_ms=settings.raw_retention_ms,
        dlq_retention_ms=settings.dlq_retention_ms,
    )


def _one_schema(file: str, odcs: OpenDataContractStandard, dataset: str) -> SchemaObject:
    schemas = odcs.schema_ or []
    if len(schemas) != 1:
        raise ContractInvalid(f"{file}: schema: there must be exactly one object, there are {len(schemas)}")
    if schemas[0].name != dataset:
        raise ContractInvalid(f"{file}: schema: name: must be {dataset!r} like the file, is {schemas[0].name!r}")
    return schemas[0]


def _check_version(file: str, odcs: OpenDataContractStandard, major: int) -> None:
    version = _VERSION.fullmatch(odcs.version or "")
    if not version or int(version["major"]) != major:
        raise ContractInvalid(f"{file}: version: must be {major}.x.y like the file, is {odcs.version!r}")


def _description(odcs: OpenDataContractStandard, schema: SchemaObject) -> str:
    purpose = odcs.description.purpose if odcs.description else None
    return (schema.description or purpose or "").strip()


def _key(file: str, schema: SchemaObject, record: Record) -> str:
    keys = [p.name for p in schema.properties or () if p.primaryKey]
    if len(keys) != 1:
        raise ContractInvalid(f"{file}: primaryKey: exactly one top-level property must be the key, {len(keys)} are")
    key = next(p for p in record.properties if p.name == keys[0])
    if not key.required or not isinstance(key.field, (Text, Integer)):
        raise ContractInvalid(f"{file}: property {key.name}: primaryKey: must be a required string or integer")
    return key.name


def _checked_example(file: str, record: Record, parse: OdcsParser) -> Mapping[str, object]:
    made = example(record)
    try:
        parse(json.dumps(made).encode())
    except ContractViolation as error:
        first = error.errors[0]
        raise ContractInvalid(
            f"{file}: examples: {first.pointer}: {first.expected}; give the property a valid one"
        ) from error
    return made
