"""The head of a request on the hot routes: what it names and asks for, or why it is refused before its body is read."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.types import Scope

from streamlake.domain.model.contracts import DATASET_NAME
from streamlake.domain.model.envelope import IDEMPOTENCY_KEY, PRODUCER_SERVICE_NAME
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.use_cases.ingest_events import IngestRequest
from streamlake.entrypoints.http_api import bodies
from streamlake.entrypoints.http_api.options import ApiOptions
from streamlake.entrypoints.http_api.problems import Problem, Refused
from streamlake.entrypoints.http_api.readiness import Readiness

PREFIX = "/v1/datasets/"
SINGLE = "events"
BATCH = "events:batch"

TOKEN = re.compile(IDEMPOTENCY_KEY.pattern.encode())
SERVICE = re.compile(PRODUCER_SERVICE_NAME.pattern.encode())
VERSION = re.compile(r"v[1-9][0-9]{0,3}")


class Target(NamedTuple):
    """What a path names: a dataset, and one event or many."""

    dataset: str
    endpoint: str
    known: bool
    """Is there such a dataset?"""


class Heads:
    """Reads them."""

    def __init__(self, catalog: ContractCatalog, readiness: Readiness, options: ApiOptions) -> None:
        self._readiness = readiness
        self._options = options
        self._targets = {
            f"{PREFIX}{dataset}/{endpoint}": Target(dataset, endpoint, known=True)
            for dataset in catalog.datasets()
            for endpoint in (SINGLE, BATCH)
        }

    def target(self, path: str) -> Target | None:
        """What the path names, known dataset or not; None where it is no path of these routes."""
        found = self._targets.get(path)
        if found is None and path.startswith(PREFIX):
            dataset, _, endpoint = path[len(PREFIX) :].partition("/")
            if endpoint in (SINGLE, BATCH):
                return Target(dataset, endpoint, known=False)
        return found

    def media_type(self, target: Target, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """What its body is. Raises `Refused` where that cannot be posted there."""
        if not target.known:
            # Only what can be a dataset's name is said back.
            named = f" {target.dataset}" if DATASET_NAME.fullmatch(target.dataset) else ""
            raise Refused(Problem("unknown-dataset", f"There is no dataset{named}; GET /v1/datasets lists them."))
        if scope["method"] != "POST":
            raise Refused(Problem("method-not-allowed", "Events are sent with POST.", headers=((b"allow", b"POST"),)))
        media = bodies.media_type(headers.get(b"content-type"))
        if media is None or (media == bodies.NDJSON and target.endpoint != BATCH):
            also = " or application/x-ndjson" if target.endpoint == BATCH else ""
            raise Refused(Problem("unsupported-media-type", f"Content-Type must be application/json{also}, in UTF-8."))
        if b"content-encoding" in headers:
            raise Refused(Problem("unsupported-media-type", "Bodies are taken as they are: no Content-Encoding."))
        return media

    def request(self, dataset: str, scope: Scope, headers: Mapping[bytes, bytes]) -> IngestRequest:
        """What its events share. Raises `Refused` where its headers or its query are not what they may be, and while
        the log cannot take events."""
        token = headers.get(b"idempotency-key")
        if token is not None and not TOKEN.fullmatch(token):
            raise _invalid("Idempotency-Key must be 1 to 200 printable ASCII characters.")
        service = headers.get(b"x-producer-service")
        if service is not None and not SERVICE.fullmatch(service):
            raise _invalid("X-Producer-Service must be 1 to 100 of the characters A-Z a-z 0-9 . _ -")
        version = _version(scope["query_string"], headers.get(b"x-schema-version"))
        refusal = self._readiness.refusal(dataset)
        if refusal is not None:
            again = ((b"retry-after", b"%d" % self._options.retry_after_s),)
            raise Refused(Problem("not-ready", "The event log cannot take events now; /readyz says why.", {}, again))
        return IngestRequest(
            dataset,
            version,
            self._options.producer_service if service is None else service.decode("ascii"),
            secrets.token_hex(16) if token is None else token.decode("ascii"),
        )


def _version(query: bytes, header: bytes | None) -> str | None:
    if not query and header is None:
        return None
    named = set(
        parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=None).get("schema_version", [])
    )
    if header is not None:
        named.add(header.decode("latin-1"))
    if not named:
        return None
    version = named.pop()
    if named or not VERSION.fullmatch(version):
        raise _invalid("schema_version (or X-Schema-Version) must be one version, such as v1.")
    return version


def _invalid(detail: str) -> Refused:
    return Refused(Problem("invalid-request", detail))
