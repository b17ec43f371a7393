"""One version of a dataset as a JSON document: what `GET /v1/datasets/{dataset}` and `contracts show --json` answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamlake.domain.model.contracts import Contract, raw_topic


def plain(value: object) -> object:
    """Any mapping and sequence as the dicts and lists that encoders take."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(inner) for inner in value]
    return value


def describe(contract: Contract, versions: Sequence[Contract]) -> dict[str, object]:
    """The document."""
    return {
        "name": contract.dataset,
        "description": contract.description,
        "version": contract.version,
        "versions": [each.version for each in versions],
        "newest": versions[-1].version,
        "key": contract.key,
        "topic": raw_topic(contract.dataset),
        "contract_sha256": contract.sha256,
        "json_schema": plain(contract.json_schema),
        "example": plain(contract.example),
    }
