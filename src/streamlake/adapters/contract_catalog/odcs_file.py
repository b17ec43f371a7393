"""One contract file's bytes, checked against the Open Data Contract Standard and read with its package.

The package's models take misspelt keys and unknown types, so the file is first held against the JSON schema that the
package ships (one schema for every v3 `apiVersion`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Any

import yaml
from jsonschema import Draft201909Validator
from jsonschema.exceptions import ValidationError
from open_data_contract_standard.model import OpenDataContractStandard

from streamlake.domain.errors import ContractInvalid


def read_odcs(file: str, content: bytes) -> OpenDataContractStandard:
    """The contract of a file. Raises `ContractInvalid` naming file, place and rule."""
    document = _yaml(file, content)
    if not isinstance(document, dict):
        raise ContractInvalid(f"{file}: must be a YAML mapping")
    version = document.get("apiVersion")
    if not isinstance(version, str) or not version.startswith("v3."):
        raise ContractInvalid(f"{file}: apiVersion: must be a v3 of ODCS, is {version!r}")
    problems = _innermost(_odcs_schema().iter_errors(document))
    if problems:
        raise ContractInvalid(f"{file}: not valid ODCS: {'; '.join(problems)}")
    return OpenDataContractStandard.model_validate(document)


def _yaml(file: str, content: bytes) -> Any:
    try:
        return yaml.load(content.decode(), _ContractLoader)  # noqa: S506 - a subclass of the safe loader
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ContractInvalid(f"{file}: not readable as YAML: {error}") from error


@functools.cache
def _odcs_schema() -> Draft201909Validator:
    # The package's own json_schema() reads this file through a deprecated function.
    shipped = resources.files("open_data_contract_standard").joinpath("schema.json")
    return Draft201909Validator(json.loads(shipped.read_bytes()))


def _innermost(errors: Iterable[ValidationError]) -> list[str]:
    """The deepest findings first: those above them only say that something below is wrong."""
    found = sorted(errors, key=lambda error: (-len(error.absolute_path), error.validator == "unevaluatedProperties"))
    return [_finding(error) for error in found[:3]]


def _finding(error: ValidationError) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
    # Without a logicalType every `if logicalType is ...` of the schema holds, and `map` is the one that complains.
    instance = error.instance
    if isinstance(instance, dict) and "logicalType" not in instance and "'map'" in error.message:
        return f"{place}: 'logicalType' is missing"
    return f"{place or 'document'}: {error.message}"


class _ContractLoader(yaml.SafeLoader):
    """Safe YAML without three surprises: a key twice, a date that is no string, a float that is not what it says."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = float(super().construct_yaml_float(node))
        try:
            written = Decimal(str(node.value).replace("_", ""))
        except InvalidOperation:  # .inf and .nan: where numbers matter they are refused by name
            return value
        if written != Decimal(repr(value)):
            problem = f"{node.value} has more digits than a double carries"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value


_ContractLoader.add_constructor("tag:yaml.org,2002:float", _ContractLoader.construct_yaml_float)
_ContractLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
