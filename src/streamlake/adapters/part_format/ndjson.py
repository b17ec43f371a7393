"""Newline-delimited JSON, plain (`json`) or gzipped (`json.gz`).

Envelopes are written by msgspec with the payload spliced in as it came: it was judged before, so it is not parsed
again. isal writes gzip several times faster than zlib, and smaller at this level.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import msgspec
from isal import isal_zlib

from streamlake.domain.model.records import Header
from streamlake.domain.model.rows import Rows
from streamlake.domain.ports.part_format import EncodedPart, PartFormat

GZIP_LEVEL = 1
"""Landing is bound by CPU, and envelopes repeat so much that higher levels gain little."""

ROWS_AT_ONCE = 4_096
"""Lines made before they are packed: bounds the memory of a part under way."""

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to say 'with a gzip header'. Equal rows need not make equal bytes: isal may use what its memory held."""


class JsonPartFormat(PartFormat):
    """One envelope a line, each line ended by LF."""

    name = "json"
    content_type = "application/x-ndjson"

    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        body = b"".join(_lines(dataset, rows, replay_id))
        return EncodedPart(body, _crc32c(body))

    def envelopes(self, body: bytes) -> Iterator[bytes]:
        return iter(body.splitlines())


class GzipJsonPartFormat(PartFormat):
    """The same lines in one gzip member. No Content-Encoding: what is stored is what is read."""

    name = "json.gz"
    content_type = "application/gzip"

    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        packer = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
        packed = [packer.compress(lines) for lines in _lines(dataset, rows, replay_id)]
        packed.append(packer.flush())
        body = b"".join(packed)
        return EncodedPart(body, _crc32c(body))

    def envelopes(self, body: bytes) -> Iterator[bytes]:
        try:
            return iter(zlib.decompress(body, _GZIP).splitlines())
        except zlib.error as damaged:
            raise ValueError(f"not gzip: {damaged}") from None


class _Envelope(msgspec.Struct, gc=False):
    """One line, in the order of its fields."""

    dataset: str
    schema_version: str
    ingestion_id: str
    producer_service: str | None
    ingested_at: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | None
    headers: dict[str, Any]
    replay_id: str | msgspec.UnsetType
    payload: msgspec.Raw


_encoder = msgspec.json.Encoder()


def _lines(dataset: str, rows: Sequence[Rows], replay_id: str | None) -> Iterator[bytes]:
    for chunk in rows:
        for start in range(0, len(chunk), ROWS_AT_ONCE):
            yield _some_lines(dataset, chunk, slice(start, start + ROWS_AT_ONCE), replay_id)


def _some_lines(dataset: str, rows: Rows, these: slice, replay_id: str | None) -> bytes:
    topic, partition = rows.source
    replay = msgspec.UNSET if replay_id is None else replay_id
    none: dict[str, Any] = {}
    raw, envelope = msgspec.Raw, _Envelope
    return _encoder.encode_lines(
        [
            envelope(
                dataset,
                schema_version,
                ingestion_id,
                producer_service,
                ingested_at,
                topic,
                partition,
                offset,
                timestamp,
                key,
                _headers(headers) if headers else none,
                replay,
                raw(_one_line(payload)),
            )
            for (
                offset,
                timestamp,
                key,
                schema_version,
                ingestion_id,
                producer_service,
                ingested_at,
                headers,
                payload,
            ) in zip(
                rows.offsets[these],
                rows.timestamps[these],
                rows.keys[these],
                rows.schema_versions[these],
                rows.ingestion_ids[these],
                rows.producer_services[these],
                rows.ingested_ats[these],
                rows.headers[these],
                rows.payloads[these],
                strict=True,
            )
        ]
    )


def _one_line(payload: bytes) -> bytes:
    """Raw CR and LF can only stand between tokens of valid JSON, where a space means the same."""
    if b"\n" in payload or b"\r" in payload:
        return payload.replace(b"\n", b" ").replace(b"\r", b" ")
    return payload


def _headers(headers: Sequence[Header]) -> dict[str, Any]:
    """Name -> text, null, or {"base64": ...} where it is not UTF-8; a repeated name has a list of these."""
    told: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in headers:
        text = _header_value(value)
        if name not in told:
            told[name] = text
        elif name in repeated:
            told[name].append(text)
        else:
            told[name] = [told[name], text]
            repeated.add(name)
    return told


def _header_value(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _crc32c(body: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(body).digest()).decode()
