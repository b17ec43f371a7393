"""Refusals and failures as RFC 9457 problem documents: the only form in which this API says no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

MEDIA_TYPE = "application/problem+json"

KINDS: Mapping[str, tuple[int, str]] = {
    "invalid-request": (400, "A header or parameter is not valid"),
    "bad-http": (400, "This is not HTTP; nothing was stored"),
    "not-found": (404, "There is nothing here"),
    "unknown-dataset": (404, "There is no such dataset or version"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "too-slow": (408, "The request came too slowly; nothing was stored"),
    "too-large": (413, "More than the limit"),
    "unsupported-media-type": (415, "Not a media type this endpoint takes"),
    "malformed-batch": (422, "The body is not a batch; nothing of it was stored"),
    "malformed-json": (422, "The event is not JSON; it is in the dead-letter topic"),
    "contract-violation": (422, "The event breaks its contract; it is in the dead-letter topic"),
    "head-too-large": (431, "The request's head is too large; nothing was stored"),
    "internal": (500, "A fault in StreamLake"),
    "not-implemented": (501, "HTTP that this server does not have; nothing was stored"),
    "not-stored": (503, "The event is certainly not stored; send it again"),
    "not-ready": (503, "Not ready; nothing was stored"),
    "overloaded": (503, "Too much at once; nothing was stored"),
    "outcome-unknown": (504, "The event may be stored or not; send it again with the same Idempotency-Key"),
}
"""Kind -> status and title. The problem's `type` is `urn:streamlake:problem:<kind>`, stable for programs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document. `detail` and `more` never hold a payload value."""

    kind: str
    detail: str
    more: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind][0]

    def body(self) -> bytes:
        """The document, as JSON."""
        status, title = KINDS[self.kind]
        return msgspec.json.encode(
            {
                "type": f"urn:streamlake:problem:{self.kind}",
                "title": title,
                "status": status,
                "detail": self.detail,
                **self.more,
            }
        )


class Refused(Exception):
    """The request is answered with this problem; nothing was appended for it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def framework_problem(status: int) -> bytes:
    """The document for a status the framework came to by itself: `about:blank`, as RFC 9457 has it."""
    phrase = HTTPStatus(status).phrase
    return msgspec.json.encode({"type": "about:blank", "title": phrase, "status": status, "detail": f"{phrase}."})
