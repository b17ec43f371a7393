"""Records as the log gives and takes them. Batches are columns: no object per record on the way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamlake.domain.errors import NotStored, OutcomeUnknown, RecordTooLarge, StreamLakeError, WriterFailed
from streamlake.domain.model.positions import TopicPartition

Header = tuple[str, bytes | None]
"""Kafka's: a name that may repeat, and a value that may be null."""

UNREADABLE: Sequence[Header] = (("\ufffd", None),)
"""In place of the headers of a record whose names the log's client cannot tell: they are not UTF-8."""

NO_TIMESTAMP = -1
"""Kafka's RecordBatch.NO_TIMESTAMP: the record carries none."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive visible records of one partition, as columns of one length (>= 1), ascending by offset.

    `timestamps` are milliseconds since the epoch, UTC, or `NO_TIMESTAMP`. Offsets may have gaps (transactions,
    compaction).
    """

    source: TopicPartition
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Sequence[Header]]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset to read after this batch."""
        return self.offsets[-1] + 1

    def pick(self, wanted: Sequence[int]) -> RecordBatch | None:
        """The records at these indexes, ascending; None where there is none, since a batch is never empty."""
        if len(wanted) == len(self.offsets):
            return self
        if not wanted:
            return None
        columns = (self.offsets, self.timestamps, self.keys, self.values, self.headers)
        offsets, timestamps, keys, values, headers = ([column[at] for at in wanted] for column in columns)
        return RecordBatch(self.source, offsets, timestamps, keys, values, headers)  # type: ignore[arg-type]


class OutgoingRecord(NamedTuple):
    """A record to append. `partition` None lets the log choose by key (murmur2 of the key, as Java clients do)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    timestamp: int
    """Milliseconds since the epoch, UTC."""
    partition: int | None = None


class Appended(NamedTuple):
    """An acknowledged append: durable, and readable at this place."""

    topic: str
    partition: int
    offset: int


AppendOutcome = Appended | NotStored | OutcomeUnknown | RecordTooLarge | WriterFailed | StreamLakeError
"""Per record: where it lies, or the error that says whether it may lie anywhere (other errors, such as
`AccessDenied` or `TopicMissing`, say that it does not)."""
