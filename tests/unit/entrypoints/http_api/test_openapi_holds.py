"""schemathesis, made up from the OpenAPI document: no 5xx, no answer that the document does not know, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks as openapi_checks
from tests.unit.entrypoints.http_api.door import Door, listening

CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    door = Door(tmp_path_factory.mktemp("contracts"))
    with listening(door) as (port, _, _):
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    door.close()


POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
SINGLE, BATCH, DATASET = "/v1/datasets/orders/events", "/v1/datasets/refunds/events:batch", "/v1/datasets/{dataset}"


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *(("POST", path, mode) for path in (SINGLE, BATCH) for mode in (POSITIVE, NEGATIVE)),
        ("GET", DATASET, POSITIVE),
        *(("GET", path, POSITIVE) for path in ("/v1/datasets", "/livez", "/readyz", "/metrics")),
    ],
)
def test_every_request_that_can_be_made_up_is_answered_as_the_document_says(
    schema: BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Requests that keep to the document, and requests that break it in every place."""
    operation = schema[path][method]

    @settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def hold(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    hold()
