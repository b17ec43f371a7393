"""The metadata that travels with every event as record headers, and the identity derived from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from uuid import UUID, uuid5

from streamlake.domain.errors import RecordRefused
from streamlake.domain.model.records import UNREADABLE, Header

INGESTION_NAMESPACE = UUID("1a85095f-bfb2-5e53-88a7-bc2c4746ca3d")
"""The published namespace of every derived `ingestion_id`: uuid5(NAMESPACE_URL, "urn:streamlake:ingestion-id")."""

_NAMESPACE = INGESTION_NAMESPACE.bytes

PRODUCER_SERVICE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
"""What a producer may call itself."""

IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,200}")
"""What a client may send as a token: printable ASCII, as a header's value has to be."""

DATASET = "dataset"
SCHEMA_VERSION = "schema_version"
INGESTION_ID = "ingestion_id"
PRODUCER_SERVICE = "producer_service"
INGESTED_AT = "ingested_at"
AS_WE_WRITE_THEM = (DATASET, SCHEMA_VERSION, PRODUCER_SERVICE, INGESTED_AT, INGESTION_ID)
"""The headers of a record that came through `ingest_events`, in order: what landing is fastest with."""

ENVELOPE_HEADERS = frozenset(AS_WE_WRITE_THEM)

_VARIANT = {f"{digit:x}": f"{digit & 0b11 | 0b1000:x}" for digit in range(16)}
"""RFC 9562, section 4.1: the two highest bits of the ninth octet are 10."""


def ingestion_id_of_request(producer_service: str, dataset: str, token: str, index: int | None = None) -> str:
    """The same request retried is the same event: UUIDv5 of service, dataset, token and, in a batch, the index."""
    name = f"{producer_service}\n{dataset}\n{token}"
    return _uuid5(_named(name if index is None else f"{name}\n{index}"))


def ingestion_ids_of_batch(producer_service: str, dataset: str, token: str, size: int, first: int = 0) -> list[str]:
    """The same for `size` events of a batch from the one with the index `first` on, in order: the names' beginning is
    hashed once."""
    beginning = _named(f"{producer_service}\n{dataset}\n{token}\n")
    ids = []
    for index in range(first, first + size):
        name = beginning.copy()
        name.update(b"%d" % index)
        ids.append(_uuid5(name))
    return ids


def ingestion_id_of_record(topic_id: str, partition: int, offset: int) -> UUID:
    """For a record that came without one: its place in the log is its identity."""
    return uuid5(INGESTION_NAMESPACE, f"{topic_id}\n{partition}\n{offset}")


def _named(name: str) -> hashlib._Hash:
    return hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False)


def _uuid5(named: hashlib._Hash) -> str:
    """RFC 9562's UUIDv5 by hand: a quarter of what `uuid5`, its object and that one's text cost."""
    h = named.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def envelope_of(headers: Sequence[Header], dataset: str) -> tuple[dict[str, str], Sequence[Header]]:
    """Split headers into the envelope's fields and the others, losing none.

    Of a repeated envelope header the last counts and the earlier ones stay among the others, as does a `dataset`
    that is not this dataset. Raises `RecordRefused` where an envelope header or a name is not UTF-8.
    """
    if headers is UNREADABLE:
        raise RecordRefused("header_not_utf8", "headers: their names must be UTF-8")
    fields: dict[str, str] = {}
    others: list[Header] = []
    for name, value in reversed(headers):
        if name not in ENVELOPE_HEADERS or name in fields or value is None:
            others.append((name, value))
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise RecordRefused("header_not_utf8", f"header {name}: must be UTF-8") from None
        if name == DATASET and text != dataset:
            others.append((name, value))
        else:
            fields[name] = text
    others.reverse()
    return fields, others
