"""Contract files made in place, so that a test shows the one property it is about."""

from __future__ import annotations

from typing import Any

import yaml

from streamlake.adapters.contract_catalog.odcs import load_contract
from streamlake.domain.model.contracts import Contract

KEY = {"name": "id", "logicalType": "string", "required": True, "primaryKey": True}


def text_of(*properties: dict[str, Any], key: dict[str, Any] = KEY, **changes: Any) -> bytes:
    """The file of a contract with a key and these properties; `changes` replace whole top-level entries."""
    return yaml.safe_dump(document_of(*properties, key=key) | changes, sort_keys=False).encode()


def document_of(*properties: dict[str, Any], key: dict[str, Any] = KEY) -> dict[str, Any]:
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "test",
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "things", "properties": [key, *properties]}],
    }


def contract_of(*properties: dict[str, Any], key: dict[str, Any] = KEY, **changes: Any) -> Contract:
    """The contract `things.v1` of such a file."""
    return load_contract("things.v1.odcs.yaml", text_of(*properties, key=key, **changes))


def field(logical_type: str, *, required: bool = False, **rest: Any) -> dict[str, Any]:
    """The property `x`; of `rest`, what ODCS keeps outside logicalTypeOptions goes there."""
    outside = ("enum", "examples", "items", "properties", "customProperties", "primaryKey")
    found: dict[str, Any] = {"name": "x", "logicalType": logical_type, "required": required}
    found |= {name: value for name, value in rest.items() if name in outside}
    options = {name: value for name, value in rest.items() if name not in outside}
    return found | ({"logicalTypeOptions": options} if options else {})


def values(*allowed: object) -> list[dict[str, object]]:
    """An ODCS enum."""
    return [{"value": value} for value in allowed]
