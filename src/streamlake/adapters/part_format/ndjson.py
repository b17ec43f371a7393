"""Newline-delimited JSON, plain (`json`) or gzipped (`json.gz`).

Envelopes are built by orjson with the payload spliced in as it came: it was judged before, so it is not parsed again.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import orjson

from streamlake.domain.model.records import Header
from streamlake.domain.model.rows import Rows
from streamlake.domain.ports.part_format import EncodedPart, PartFormat

GZIP_LEVEL = 1
"""The fastest: landing is bound by CPU, and envelopes repeat so much that higher levels gain little."""

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to say 'with a gzip header' (and a zero modification time: the same rows make the same bytes)."""


class JsonPartFormat(PartFormat):
    """One envelope a line, each line ended by LF."""

    name = "json"
    content_type = "application/x-ndjson"

    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        body = b"".join(_lines(dataset, chunk, replay_id) for chunk in rows)
        return EncodedPart(body, _crc32c(body))

    def envelopes(self, body: bytes) -> Iterator[bytes]:
        return iter(body.splitlines())


class GzipJsonPartFormat(PartFormat):
    """The same lines in one gzip member. No Content-Encoding: what is stored is what is read."""

    name = "json.gz"
    content_type = "application/gzip"

    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        packed = [packer.compress(_lines(dataset, chunk, replay_id)) for chunk in rows]
        packed.append(packer.flush())
        body = b"".join(packed)
        return EncodedPart(body, _crc32c(body))

    def envelopes(self, body: bytes) -> Iterator[bytes]:
        return iter(zlib.decompress(body, _GZIP).splitlines())


def _lines(dataset: str, rows: Rows, replay_id: str | None) -> bytes:
    topic, partition = rows.source
    replay = {} if replay_id is None else {"replay_id": replay_id}
    dumps, fragment, newline = orjson.dumps, orjson.Fragment, orjson.OPT_APPEND_NEWLINE
    return b"".join(
        [
            dumps(
                {
                    "dataset": dataset,
                    "schema_version": schema_version,
                    "ingestion_id": ingestion_id,
                    "producer_service": producer_service,
                    "ingested_at": ingested_at,
                    "topic": topic,
                    "partition": partition,
                    "offset": offset,
                    "timestamp": timestamp,
                    "key": key,
                    "headers": _headers(headers) if headers else {},
                    **replay,
                    "payload": fragment(_one_line(payload)),
                },
                option=newline,
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
                rows.offsets,
                rows.timestamps,
                rows.keys,
                rows.schema_versions,
                rows.ingestion_ids,
                rows.producer_services,
                rows.ingested_ats,
                rows.headers,
                rows.payloads,
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
