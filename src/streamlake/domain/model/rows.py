"""Rows of the raw zone, before a part format gives them their shape."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamlake.domain.model.positions import Lane, TopicPartition
from streamlake.domain.model.records import Header

ENVELOPE_BYTES = 330
"""About what an envelope adds to its payload."""


def longs(numbers: Iterable[int] = ()) -> array[int]:
    """A column of 64-bit numbers: eight bytes each, where a list of them takes forty."""
    return array("q", numbers)


@dataclass(slots=True)
class Rows:
    """Rows of one partition bound for one part, as columns of one length, ascending by offset.

    Each row becomes one envelope. `ingestion_ids` etc. come from the record's headers; `headers` are the others.
    `ingested_at` is RFC 3339 text as the header has it; `timestamps` are milliseconds since the epoch, UTC.
    """

    source: TopicPartition
    topic_id: str
    offsets: array[int] = field(default_factory=longs)
    timestamps: array[int] = field(default_factory=longs)
    keys: list[str | None] = field(default_factory=list)
    schema_versions: list[str] = field(default_factory=list)
    ingestion_ids: list[str] = field(default_factory=list)
    producer_services: list[str | None] = field(default_factory=list)
    ingested_ats: list[str] = field(default_factory=list)
    headers: list[Sequence[Header]] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def lane(self) -> Lane:
        """The partition these rows come from, by topic id."""
        return Lane(self.topic_id, self.source.partition)

    @property
    def size(self) -> int:
        """About how many bytes the rows are as envelopes, before compression."""
        return sum(map(len, self.payloads)) + ENVELOPE_BYTES * len(self.offsets)

    def extend(self, others: Rows) -> None:
        """Append rows of the same partition."""
        self.offsets += others.offsets
        self.timestamps += others.timestamps
        self.keys += others.keys
        self.schema_versions += others.schema_versions
        self.ingestion_ids += others.ingestion_ids
        self.producer_services += others.producer_services
        self.ingested_ats += others.ingested_ats
        self.headers += others.headers
        self.payloads += others.payloads

    def pick(self, wanted: Sequence[int]) -> Rows:
        """The rows at these indexes, in that order."""
        return Rows(
            self.source,
            self.topic_id,
            longs(map(self.offsets.__getitem__, wanted)),
            longs(map(self.timestamps.__getitem__, wanted)),
            [*map(self.keys.__getitem__, wanted)],
            [*map(self.schema_versions.__getitem__, wanted)],
            [*map(self.ingestion_ids.__getitem__, wanted)],
            [*map(self.producer_services.__getitem__, wanted)],
            [*map(self.ingested_ats.__getitem__, wanted)],
            [*map(self.headers.__getitem__, wanted)],
            [*map(self.payloads.__getitem__, wanted)],
        )
