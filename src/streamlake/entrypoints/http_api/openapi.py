"""The OpenAPI document: FastAPI's own for its routes, and the event routes by hand, one pair per dataset.

Each dataset has paths of its own (they match before the template would), so its page in /docs shows its schema and
its example, and a generated client gets typed events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from streamlake.domain.model.contracts import Contract
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.entrypoints.dataset_page import plain
from streamlake.entrypoints.http_api.options import ApiOptions
from streamlake.entrypoints.http_api.problems import MEDIA_TYPE

Json = dict[str, object]

DESCRIPTION = """\
Events in, each answered only when it is certain what became of it.

| status | means |
|---|---|
| 202 | in Kafka, acknowledged by all in-sync replicas |
| 207 | a batch with at least one failure: one entry per event, in order, each with its own status |
| 422 | malformed JSON or a contract violation: the event is in the dead-letter topic |
| 503 | certainly not stored: send it again after `Retry-After` |
| 504 | stored or not, unknown: send it again with the same `Idempotency-Key` |

Of a repeated name in a JSON object the last one counts. Bytes are stored as they were sent. The same
`Idempotency-Key` gives the same `ingestion_id`, by which readers recognise a repeated event; that two different
bodies came with one key is not detected.
"""

_RECEIPT = {
    "ingestion_id": {"type": "string", "format": "uuid"},
    "dataset": {"type": "string"},
    "topic": {"type": "string"},
    "partition": {"type": "integer", "minimum": 0},
    "offset": {"type": "integer", "minimum": 0},
    "ingested_at": {"type": "string", "format": "date-time"},
}
_PLACE = {name: _RECEIPT[name] for name in ("topic", "partition", "offset")}

SCHEMAS: Json = {
    "Accepted": {
        "type": "object",
        "description": "The event is in Kafka, at this place.",
        "properties": _RECEIPT,
        "required": list(_RECEIPT),
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457. It never holds a value of the event.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "dataset": {"type": "string"},
            "ingestion_id": {"type": "string", "format": "uuid"},
            "idempotency_key": {"type": "string", "description": "Send the event again with this key."},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "pointer": {"type": "string", "description": "JSON pointer; empty: the whole document"},
                        "rule": {"type": "string"},
                        "expected": {"type": "string"},
                    },
                    "required": ["pointer", "rule", "expected"],
                },
            },
            "dead_letter": {"type": "object", "properties": _PLACE, "required": list(_PLACE)},
        },
        "required": ["type", "title", "status", "detail"],
    },
    "BatchResult": {
        "type": "object",
        "properties": {
            "dataset": {"type": "string"},
            "accepted": {"type": "integer", "minimum": 0},
            "failed": {"type": "integer", "minimum": 0},
            "results": {
                "type": "array",
                "description": "One entry per event, in order: what it alone would have been answered, and its status.",
                "items": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {"status": {"const": 202}, **_RECEIPT},
                            "required": ["status", *_RECEIPT],
                        },
                        {"$ref": "#/components/schemas/Problem"},
                    ]
                },
            },
        },
        "required": ["dataset", "accepted", "failed", "results"],
    },
}

_KEY_HEADER: Json = {
    "Idempotency-Key": {"description": "The key of this request, yours or made here.", "schema": {"type": "string"}}
}
_REFUSALS = {
    "400": "A header or parameter is not valid",
    "404": "No such dataset or version",
    "405": "Not this method",
    "408": "The request came too slowly",
    "413": "Body over the limit",
    "415": "Not JSON, or content-encoded",
    "431": "The request's head is too large",
    "500": "A fault in StreamLake",
    "501": "A transfer coding beside chunked",
    "503": "Certainly not stored",
    "504": "Stored or not: unknown",
}


def complete(document: Json, catalog: ContractCatalog, options: ApiOptions) -> Json:
    """FastAPI's document with the event routes, the datasets' schemas and the problems of its own routes added."""
    paths = cast("dict[str, Json]", document.setdefault("paths", {}))
    components = cast("Json", document.setdefault("components", {}))
    schemas = cast("Json", components.setdefault("schemas", {}))
    # FastAPI's validation error is not ours: the handler turns it into a problem.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas.update(SCHEMAS)
    for item in paths.values():
        for operation in item.values():
            responses = cast("Json", cast("Json", operation)["responses"])
            responses.pop("422", None)
            responses["405"] = _problem("Not this method")
    cast("Json", cast("Json", paths["/v1/datasets/{dataset}"]["get"])["responses"])["404"] = _problem(
        "No such dataset or version"
    )
    for dataset in catalog.datasets():
        versions = catalog.versions(dataset)
        for contract in versions:
            schemas[contract.name] = _rebased(plain(contract.json_schema), f"#/components/schemas/{contract.name}")
        paths[f"/v1/datasets/{dataset}/events"] = {"post": _single(dataset, versions, options)}
        paths[f"/v1/datasets/{dataset}/events:batch"] = {"post": _batch(dataset, versions, options)}
    return document


def _rebased(schema: object, home: str) -> object:
    """The schema with its local references pointing to where it now stands."""
    if isinstance(schema, dict):
        return {
            name: home + value[1:]
            if name == "$ref" and isinstance(value, str) and value.startswith("#/$defs/")
            else _rebased(value, home)
            for name, value in schema.items()
            if name != "$schema"
        }
    if isinstance(schema, list):
        return [_rebased(each, home) for each in schema]
    return schema


def _single(dataset: str, versions: Sequence[Contract], options: ApiOptions) -> Json:
    newest = versions[-1]
    content = {
        "application/json": {
            "schema": _event(versions),
            "examples": {each.name: {"value": plain(each.example)} for each in reversed(versions)},
        }
    }
    return {
        **_operation(dataset, newest, "One event"),
        "operationId": f"post_{dataset}_event",
        "requestBody": {
            "required": True,
            "description": f"At most {options.max_event_bytes} bytes.",
            "content": content,
        },
        "responses": {
            "202": _answer("In Kafka", "Accepted"),
            **{status: _problem(text) for status, text in _REFUSALS.items()},
            "422": _problem("Malformed JSON or a contract violation: the event is in the dead-letter topic"),
        },
    }


def _batch(dataset: str, versions: Sequence[Contract], options: ApiOptions) -> Json:
    newest = versions[-1]
    content = {
        "application/json": {
            "schema": {
                "type": "array",
                "minItems": 1,
                "maxItems": options.max_batch_events,
                "items": _event(versions),
            },
            "examples": {newest.name: {"value": [plain(newest.example)]}},
        },
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "One event a line; empty lines are skipped."}
        },
    }
    return {
        **_operation(dataset, newest, "Many events"),
        "operationId": f"post_{dataset}_batch",
        "requestBody": {
            "required": True,
            "description": f"At most {options.max_batch_bytes} bytes and {options.max_batch_events} events; "
            f"an event of more than {options.max_event_bytes} bytes is a 413 of its own. "
            "Retry a batch whole, in its order, with the same Idempotency-Key.",
            "content": content,
        },
        "responses": {
            "202": _answer("All in Kafka", "BatchResult"),
            "207": _answer("At least one was not accepted", "BatchResult"),
            **{status: _problem(text) for status, text in _REFUSALS.items()},
            "422": _problem("Not a batch, or an empty one: nothing was stored, nothing dead-lettered"),
        },
    }


def _operation(dataset: str, newest: Contract, what: str) -> Json:
    return {
        "tags": [dataset],
        "summary": f"{what} for {dataset}",
        "description": newest.description,
        "parameters": [
            _parameter("query", "schema_version", "A version such as v1; the newest without it", r"^v[1-9][0-9]{0,3}$"),
            _parameter("header", "X-Schema-Version", "The same, as a header", r"^v[1-9][0-9]{0,3}$"),
            _parameter("header", "Idempotency-Key", "The same key gives the same ingestion_id", r"^[ -~]{1,200}$"),
            _parameter("header", "X-Producer-Service", "Who sends this", r"^[A-Za-z0-9._-]{1,100}$"),
        ],
    }


def _parameter(place: str, name: str, says: str, pattern: str) -> Json:
    return {
        "in": place,
        "name": name,
        "required": False,
        "description": says,
        "schema": {"type": "string", "pattern": pattern},
    }


def _event(versions: Sequence[Contract]) -> Json:
    schemas: list[object] = [{"$ref": f"#/components/schemas/{each.name}"} for each in reversed(versions)]
    return cast("Json", schemas[0]) if len(schemas) == 1 else {"anyOf": schemas}


def _answer(says: str, schema: str) -> Json:
    return {
        "description": says,
        "headers": _KEY_HEADER,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _problem(says: str) -> Json:
    return {"description": says, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
