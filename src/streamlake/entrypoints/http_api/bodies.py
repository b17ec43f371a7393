"""Request bodies: read under a limit while they stream, and sliced into the client's own bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from starlette.types import Receive

from streamlake.entrypoints.http_api.inflight import Slot
from streamlake.entrypoints.http_api.problems import Problem, Refused

JSON = "application/json"
NDJSON = "application/x-ndjson"

_MEDIA_TYPES = {b"application/json": JSON, b"application/x-ndjson": NDJSON, b"application/ndjson": NDJSON}
_PARAMETER = re.compile(rb"""\s*charset\s*=\s*"?utf-8"?\s*""", re.IGNORECASE)

# A string (closed or not: it must swallow the rest, or a body of quotes would be scanned once per quote), or structure.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_MAX_TOKENS = 500_000
"""About 75 ms of scanning: as much as a body that is not JSON may cost the others."""
_SPACE = b" \t\r\n"


class ClientGone(Exception):
    """The client hung up before its request was complete. There is nobody to answer."""


def media_type(header: bytes | None) -> str | None:
    """`JSON` or `NDJSON` where the header says so (and UTF-8, if it names a charset), else None."""
    if header is None:
        return None
    known = _MEDIA_TYPES.get(header)
    if known is None:
        name, *parameters = header.split(b";")
        if all(_PARAMETER.fullmatch(parameter) for parameter in parameters if parameter.strip()):
            known = _MEDIA_TYPES.get(name.strip().lower())
    return known


async def read_body(receive: Receive, declared: bytes | None, limit: int, slot: Slot) -> bytes:
    """The whole body. Raises `Refused` as soon as it is, or says it is, over `limit`; `ClientGone`.

    `slot` is told of every byte kept, and may refuse. What is declared is only believed when it is too much.
    """
    if declared is not None and (len(declared) > 18 or (declared.isdigit() and int(declared) > limit)):
        raise _too_large(limit)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise _too_large(limit)
    if not message.get("more_body", False):
        slot.grow(len(body))
        return body
    slot.arrive(len(body))
    chunks = [body]
    size = len(body)
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if more:
            slot.arrive(len(chunk))
        else:
            slot.arrived(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> Refused:
    return Refused(Problem("too-large", f"The body may have at most {limit} bytes; nothing of it was stored."))


class BatchSlicer:
    """Cuts a batch into its events, each the client's own bytes. At most `max_events`, whatever the body."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._elements = msgspec.json.Decoder(list[msgspec.Raw])
        # msgspec has no bounded list (`max_length` is looked at when the list is made): a tuple-like struct of so many
        # optional fields stops at the first element too many, having made none of them.
        self._bound = msgspec.json.Decoder(
            msgspec.defstruct(
                "AtMost",
                [(f"e{i}", msgspec.Raw, msgspec.Raw(b"")) for i in range(max_events)],
                array_like=True,
                forbid_unknown_fields=True,
            )
        )

    def slice(self, body: bytes, media: str) -> Sequence[bytes]:
        """The events in order, at least one. Raises `Refused` where there is no batch, an empty or a too long one."""
        events = self._lines(body) if media == NDJSON else self._array(body)
        if not events:
            raise _no_batch("The batch has no events.")
        if len(events) > self._max_events:
            raise self._too_many()
        return events

    def _lines(self, body: bytes) -> Sequence[bytes]:
        # Empty lines count towards the bound, or 16 MiB of them would be a list of 16 million.
        if body.count(b"\n") > self._max_events:
            raise self._too_many()
        return [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip(_SPACE)]

    def _array(self, body: bytes) -> Sequence[bytes]:
        try:
            # Every event but the last has a byte and a comma: most bodies are too short to be counted.
            if len(body) >= 2 * self._max_events and body.count(b",") >= self._max_events:
                self._bound.decode(body)
            return [bytes(element) for element in self._elements.decode(body)]
        except msgspec.ValidationError:
            if body.lstrip(_SPACE).startswith(b"["):
                raise self._too_many() from None
            raise _no_batch("The body must be a JSON array of events.") from None
        except (msgspec.DecodeError, RecursionError):
            return self._array_of_broken(body)

    def _array_of_broken(self, body: bytes) -> Sequence[bytes]:
        """The elements of an array that is not JSON, where its brackets and strings still tell them apart.

        One bad event must harm no other: `[{"a":NaN},{"a":1}]` has one bad element and one good one.
        """
        start = len(body) - len(body.lstrip(_SPACE))
        if body[start : start + 1] != b"[":
            raise _no_batch("The body must be a JSON array of events.")
        depth = 0
        begin = start + 1
        elements: list[bytes] = []
        for count, token in enumerate(_TOKEN.finditer(body, start)):
            mark = body[token.start()]
            if mark in b"[{":
                depth += 1
            elif mark in b"]}":
                depth -= 1
                if depth == 0:
                    elements.append(body[begin : token.start()].strip(_SPACE))
                    if mark != ord("]") or body[token.end() :].strip(_SPACE):
                        break
                    return elements
            elif depth == 1 and mark == ord(","):
                elements.append(body[begin : token.start()].strip(_SPACE))
                begin = token.end()
                if len(elements) > self._max_events:
                    raise self._too_many()
            if count > _MAX_TOKENS:
                break
        raise _no_batch("The body is not a JSON array: its events cannot be told apart.")

    def _too_many(self) -> Refused:
        return Refused(
            Problem("too-large", f"A batch may have at most {self._max_events} events; nothing of it was stored.")
        )


def _no_batch(detail: str) -> Refused:
    return Refused(Problem("malformed-batch", f"{detail} Nothing was stored, in the dead-letter topic neither."))
