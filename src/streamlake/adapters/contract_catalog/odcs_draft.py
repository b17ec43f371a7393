"""Contract files one by one: reading what somebody wrote, and writing a first draft of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from streamlake.adapters.contract_catalog.odcs import FILE_NAME, load_contract, read_folder
from streamlake.domain.model.contract_drafts import ContractDraft, SampledField
from streamlake.domain.model.contracts import Contract
from streamlake.domain.ports.contract_catalog import ContractFiles

_HEAD = """\
# A draft from {events:,} sample events. It takes all of them; make it say what is meant:
# descriptions, bounds, patterns, enums, which fields may be missing, partitions and retention.
"""


class OdcsContractFiles(ContractFiles):
    """Files of the Open Data Contract Standard."""

    def read(self, file: str, content: bytes) -> Contract:
        return load_contract(file, content)

    def name(self, dataset: str, major: int) -> str:
        return f"{dataset}.v{major}.odcs.yaml"

    def of_folder(self, folder: str) -> Mapping[str, bytes]:
        return read_folder(Path(folder))

    def is_contract(self, file: str) -> bool:
        return FILE_NAME.fullmatch(file) is not None

    def write(self, draft: ContractDraft) -> bytes:
        document = {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": f"streamlake-{draft.dataset}-v{draft.major}",
            "name": draft.dataset,
            "version": f"{draft.major}.0.0",
            "status": "draft",
            "description": {"purpose": f"What {draft.dataset} are for; to be written."},
            "schema": [
                {
                    "name": draft.dataset,
                    "physicalType": "topic",
                    "description": "One event per ...; to be written.",
                    "properties": _properties(draft.document, draft.key),
                }
            ],
            "customProperties": [{"property": "partitions", "value": 6}, {"property": "rawRetentionDays", "value": 30}],
        }
        head = _HEAD.format(events=draft.document.seen)
        head += "".join(
            f"# Left out, for no one type fits: {pointer!a} (unknown fields are allowed)\n"
            for pointer in draft.left_out()
        )
        return (head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)).encode()


def _properties(parent: SampledField, key: str | None = None) -> list[dict[str, Any]]:
    return [
        {"name": name, **_property(found, required=found.required_of(parent.kinds["object"]), is_key=name == key)}
        for name, found in parent.properties().items()
    ]


def _property(found: SampledField, *, required: bool, is_key: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {"logicalType": found.kind}
    if found.kind == "array" and found.element is not None:
        told["items"] = _property(found.element, required=not found.element.kinds["null"])
    if found.kind == "object":
        told["properties"] = _properties(found)
    if required:
        told["required"] = True
    if is_key:
        told["primaryKey"] = True
    if found.example is not None and found.kind not in ("object", "array"):
        told["examples"] = [found.example]
    return told
