"""What there is to send to: every dataset with its schema, an example and its versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import msgspec
from fastapi import FastAPI, Path, Query, Response

from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.entrypoints.dataset_page import describe
from streamlake.entrypoints.http_api.problems import Problem, Refused


def add_catalog_routes(app: FastAPI, catalog: ContractCatalog) -> None:
    """`GET /v1/datasets` and `GET /v1/datasets/{dataset}`: written once, for contracts do not change while we run."""
    pages: dict[tuple[str, str | None], bytes] = {}
    listed = []
    for dataset in catalog.datasets():
        versions = catalog.versions(dataset)
        newest = catalog.newest(dataset)
        listed.append(
            {
                "name": dataset,
                "description": newest.description,
                "versions": [each.version for each in versions],
                "newest": newest.version,
                "href": f"/v1/datasets/{dataset}",
            }
        )
        for contract in versions:
            pages[dataset, contract.version] = msgspec.json.encode(describe(contract, versions))
        pages[dataset, None] = pages[dataset, newest.version]
    everything = msgspec.json.encode({"datasets": listed})

    @app.get("/v1/datasets", tags=["datasets"], summary="Every dataset", response_class=Response)
    async def datasets() -> Response:
        return _json(everything)

    app.get(
        "/v1/datasets/{dataset}",
        tags=["datasets"],
        summary="One dataset: its JSON Schema, an example, its versions",
        response_class=Response,
    )(_dataset_page(pages))


def _dataset_page(pages: Mapping[tuple[str, str | None], bytes]) -> Callable[..., Awaitable[Response]]:
    async def dataset(
        dataset: Annotated[str, Path(description="The dataset's name")],
        schema_version: Annotated[str | None, Query(description="A version such as v1; the newest without it")] = None,
    ) -> Response:
        page = pages.get((dataset, schema_version))
        if page is None:
            raise Refused(
                Problem("unknown-dataset", "There is no such dataset or version; GET /v1/datasets lists them.")
            )
        return _json(page)

    return dataset


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
