"""Dead letters as text and as JSON. What a client sent is never printed raw: it may hold terminal commands."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from streamlake.domain.model.letters import DeadLetter, Resolution
from streamlake.domain.model.records import NO_TIMESTAMP
from streamlake.domain.model.times import rfc3339_of_ms

HEX_ROW = 16


def as_json(letter: DeadLetter, standing: str) -> dict[str, Any]:
    """All that is known of a letter, without what the client sent."""
    source, cut = letter.source, letter.truncation
    return {
        "letter": str(letter.id),
        "standing": standing,
        "stage": letter.stage,
        "error_class": letter.error_class,
        "reason": letter.reason,
        "errors": [{"pointer": e.pointer, "rule": e.rule, "expected": e.expected} for e in letter.errors],
        "failed_at": letter.failed_at,
        "attempts": letter.attempts,
        "contract": letter.contract,
        "schema_version": letter.schema_version,
        "ingestion_id": letter.ingestion_id,
        "replay_id": letter.id.replay_id,
        "source": source
        and {
            "topic": source.topic,
            "topic_id": source.topic_id,
            "partition": source.partition,
            "offset": source.offset,
            "timestamp": None if source.timestamp == NO_TIMESTAMP else source.timestamp,
        },
        "place": {"partition": letter.place.partition, "offset": letter.place.offset},
        "bytes": None if letter.value is None else len(letter.value),
        "truncated": cut and {"bytes": cut.size, "sha256": cut.sha256},
    }


def as_whole_json(letter: DeadLetter, standing: str) -> dict[str, Any]:
    """`as_json` with the original record: text where it is UTF-8, else base64; null is null."""
    return as_json(letter, standing) | {
        "trace": letter.trace,
        "key": bytes_as_json(letter.key),
        "value": bytes_as_json(letter.value),
        "headers": [[name, bytes_as_json(value)] for name, value in letter.headers],
    }


def resolution_as_json(resolution: Resolution) -> dict[str, Any]:
    """A resolution, without the letter it is of."""
    to = resolution.redriven_to
    return {
        "outcome": resolution.outcome,
        "by": resolution.by,
        "at": resolution.at,
        "reason": resolution.reason,
        "redriven_to": None if to is None else str(to),
    }


def bytes_as_json(value: bytes | None) -> dict[str, str] | None:
    """`{"text": ...}` or `{"base64": ...}`: both give back the very bytes."""
    if value is None:
        return None
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def one_line(letter: DeadLetter, standing: str) -> str:
    """A letter in a list."""
    version = letter.schema_version or "-"
    told = (str(letter.id), standing, letter.failed_at, letter.stage, letter.error_class, version, letter.reason)
    return "  ".join(map(printable, told))


def in_full(letter: DeadLetter, standing: str, resolutions: list[Resolution]) -> Iterator[str]:
    """A letter on a page of its own."""
    told: Mapping[str, object] = {
        "letter": f"{letter.id} ({standing})",
        "lies at": f"partition {letter.place.partition}, offset {letter.place.offset} of the dead-letter topic",
        "failed at": f"{letter.failed_at}, at the {letter.stage}; attempts: {letter.attempts}",
        "error": f"{letter.error_class}: {letter.reason}",
        "contract": letter.contract or "-",
        "ingestion id": letter.ingestion_id,
    }
    yield from (f"{name:<13} {printable(str(value))}" for name, value in told.items())
    if letter.source is not None:
        source = letter.source
        at = "no timestamp" if source.timestamp == NO_TIMESTAMP else _moment(source.timestamp)
        yield f"{'source':<13} {printable(source.topic)}[{source.partition}] offset {source.offset}, {at}"
    for made in resolutions:
        where = "" if made.redriven_to is None else f" to {made.redriven_to}"
        yield printable(f"{made.outcome:<13} {made.at} by {made.by}{where}{made.reason and ': ' + made.reason}")
    for error in letter.errors:
        yield printable(f"  {error.pointer or 'document'}: {error.rule}: {error.expected}")
    yield "headers"
    for name, value in letter.headers:
        yield f"  {printable(name)}: {_shown(value)}"
    yield "trace"
    yield from (f"  {printable(line)}" for line in letter.trace.splitlines())
    yield f"key {_shown(letter.key)}"
    cut = letter.truncation
    if cut is not None:
        yield f"payload, the first {len(letter.value or b'')} of {cut.size} bytes (sha256 of all: {cut.sha256})"
    else:
        yield "payload" if letter.value is not None else "payload null"
    if letter.value is not None:
        yield from _payload(letter.value)


def printable(text: str) -> str:
    """The text with everything escaped that a terminal could take for a command or a line break."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _moment(ms: int) -> str:
    try:
        return rfc3339_of_ms(ms)
    except OverflowError:
        return f"timestamp {ms}"


def _shown(value: bytes | None) -> str:
    if value is None:
        return "null"
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        return f"hex {value.hex(' ')}"


def _payload(value: bytes) -> Iterator[str]:
    try:
        yield from map(printable, value.decode().split("\n"))
    except UnicodeDecodeError:
        for at in range(0, len(value), HEX_ROW):
            row = value[at : at + HEX_ROW]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            yield f"{at:08x}  {row.hex(' '):<{3 * HEX_ROW}} {text}"
