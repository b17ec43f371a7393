"""`streamlake.control`: what operators and consumers have decided about partitions, so that it survives restarts.

One compacted topic of one partition. Key `<dataset>/<partition>`; the last value counts. No topic, or no value, means
running.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogWriter

CONTROL_TOPIC = "streamlake.control"
HALTED = "halted"
RUNNING = "running"

_VERSION = 1
_LANE = TopicPartition(CONTROL_TOPIC, 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one partition of one topic id, by whom and when (RFC 3339)."""

    state: str
    topic_id: str
    reason: str
    by: str
    at: str
    tolerate_below: int = 0
    """Dead letters below this offset do not count for the circuit breaker."""
    counted_from: int = 0
    """What the circuit breaker had counted up to this position is forgotten."""


class Control:
    """Reads and writes decisions. Safe for several threads."""

    def __init__(self, admin: LogAdmin, reader: LogReader, writer: LogWriter) -> None:
        self._admin = admin
        self._reader = reader
        self._writer = writer

    def decisions(self, dataset: str) -> dict[int, Decision]:
        """Partition -> the decision in force. Raises the log's errors."""
        if CONTROL_TOPIC not in self._admin.topics([CONTROL_TOPIC]):
            return {}
        marks = self._admin.watermarks([_LANE])[_LANE]
        found: dict[int, Decision] = {}
        for batch in self._reader.read(_LANE, marks.low, marks.high):
            for key, value in zip(batch.keys, batch.values, strict=True):
                name, _, number = (key or b"").decode(errors="replace").partition("/")
                if name == dataset and number.isdecimal():
                    decision = _read(value)
                    found.pop(int(number), None)
                    if decision is not None:
                        found[int(number)] = decision
        return found

    def decide(self, dataset: str, partition: int, decision: Decision, now_ms: int) -> None:
        """Put a decision in force; acknowledged when this returns. Raises what says why it is not."""
        told = {
            "v": _VERSION,
            "state": decision.state,
            "topic_id": decision.topic_id,
            "reason": decision.reason,
            "by": decision.by,
            "at": decision.at,
            "tolerate_below": decision.tolerate_below,
            "counted_from": decision.counted_from,
        }
        key = f"{dataset}/{partition}".encode()
        record = OutgoingRecord(CONTROL_TOPIC, key, json.dumps(told).encode(), (), now_ms, 0)
        [outcome] = self._writer.append_and_wait([record])
        if isinstance(outcome, StreamLakeError):
            raise outcome


def _read(value: bytes | None) -> Decision | None:
    """A decision; None for a tombstone, and for one of another version, which only its own version obeys."""
    try:
        told = json.loads(value or b"null")
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("v") != _VERSION:
        return None
    return Decision(**{name: told[name] for name in Decision.__slots__ if name in told})
