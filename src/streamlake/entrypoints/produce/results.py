"""What became of a batch, whichever way it was sent, and the sum of all of them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamlake.entrypoints.produce.batches import Batch

TOO_LARGE = "too_large"
"""The kind of an event that no limit lets through."""


@dataclass(frozen=True, slots=True)
class Reject:
    """An event that will never be accepted as it is."""

    index: int
    """In its batch."""
    kind: str
    ingestion_id: str
    errors: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Every event of the batch is accepted, rejected or failed; with a failed one the batch is to be sent again."""

    accepted: int
    rejects: Sequence[Reject] = ()
    failed: int = 0
    fault: str = ""
    """Why, where something failed."""
    hopeless: bool = False
    """It failed in a way that sending it again, as it is, does not mend."""


@dataclass
class Tally:
    """The sum. Added to from one thread."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    hopeless: bool = False

    def add(self, result: BatchResult) -> None:
        """Count a batch."""
        self.accepted += result.accepted
        self.rejected.update(reject.kind for reject in result.rejects)
        if result.failed:
            self.failed[result.fault] += result.failed
            self.hopeless |= result.hopeless

    @property
    def total(self) -> int:
        """Events with an outcome."""
        return self.accepted + self.rejected.total() + self.failed.total()


def reject_lines(batch: Batch, result: BatchResult) -> bytes:
    """One JSON object a line: where the event stands, why, and the event itself, to be mended and sent again."""
    lines: list[bytes] = []
    for reject in result.rejects:
        event = batch.events[reject.index]
        told: dict[str, object] = {
            "line": batch.lines[reject.index],
            "reason": reject.kind,
            "ingestion_id": reject.ingestion_id,
            "errors": list(reject.errors),
        }
        try:
            told["event"] = event.decode()
        except UnicodeDecodeError:
            told["event_base64"] = base64.b64encode(event).decode()
        lines.append(json.dumps(told, ensure_ascii=False).encode() + b"\n")
    return b"".join(lines)
